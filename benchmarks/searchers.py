"""Searchers on a real supernet: the hypervolume each reaches with as many evaluations, over seeds.

    python -m evonas +task=synthetic network=nano stage=pretrain run=searched
    python -m evonas +task=synthetic stage=teacher run=searched
    python -m evonas +task=synthetic stage=supernet run=searched
    python benchmarks/searchers.py outputs/searched outputs/searchers --seeds 3 --evaluations 300

The objectives are the error on the holdout split and the multiply-adds, which both repeat exactly, so a point
is measured once and whoever asks for it again is told the same. What was measured and searched is kept in the
folder: the command may be stopped and typed again. The box of the hypervolume reaches from zero to what the
smallest and the largest network cost. A method is a file of conf/search, perhaps with settings after commas.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import trials
from trials import Trial

from evonas import config
from evonas.evaluate.engine import EvaluatorLike, Measurement, Part
from evonas.files import read_json, write_json
from evonas.objectives.evaluator import Evaluator
from evonas.report.analysis.indicators import Scale, common_scale
from evonas.run import Run
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.stages.base import Context
from evonas.stages.build.evaluator import evaluator_config

METHODS = (
    "random",
    "nsga2",
    "nsga3",
    "nsganetv2,+search/analytic_objectives=macs",
    "ednag",
    "model_based",
    "model_based,+search/analytic_objectives=macs",
    "ehvi",
    "ehvi,+search/analytic_objectives=macs",
)
NAMES = ("error", "macs")


class Remembering:
    """An evaluator that measures every point once, and keeps what it found in a file.

    Args:
        evaluator: is set up when the first new point comes.
        path: facts by the evaluator's fingerprint, so that other weights or images never share them.
    """

    def __init__(self, evaluator: Evaluator, space: Space, path: Path) -> None:
        self._evaluator, self._space, self._path, self._is_ready = evaluator, space, path, False
        self._key = evaluator.fingerprint("shared")
        self._all: dict[str, dict[str, dict[str, float]]] = read_json(path) if path.exists() else {}
        self._facts = self._all.setdefault(self._key, {})
        self.seconds = 0.0
        self.measured = 0

    def setup(self) -> None:
        """Nothing yet."""

    def measure(self, genotype: Genotype, part: Part) -> Measurement:
        """The fact, measured now or earlier."""
        text = self._space.format(genotype)
        if text not in self._facts:
            if not self._is_ready:
                self._evaluator.setup()
                self._is_ready = True
            began = time.monotonic()
            self._facts[text] = dict(self._evaluator.measure(genotype, part).objectives)
            self.seconds += time.monotonic() - began
            self.measured += 1
        return Measurement(self._facts[text])

    def keep(self) -> None:
        """Write the facts down."""
        write_json(self._path, self._all)


@dataclass(frozen=True)
class Problem:
    """A run's supernet, ready to be searched."""

    cfg: Any
    space: Space
    memory: Remembering

    @classmethod
    def of(cls, run: Path, folder: Path, task: str, holdout: int | None) -> "Problem":
        """From the supernet of a run; `holdout` images judge instead of the task's own number."""
        few = () if holdout is None else (f"data.validation={holdout}",)
        cfg = trials.composed(f"+task={task}", f"objective=[{','.join(NAMES)}]", *few)
        spec = evaluator_config(Context(cfg, Run(run.absolute(), task)))
        space = config.build(cfg.space)
        return cls(cfg, space, Remembering(config.build(spec), space, folder / "facts.json"))


def box(space: Space, evaluator: EvaluatorLike) -> Scale:
    """From zero to 1.01 times the worst of the smallest and the largest network."""
    found = [evaluator.measure(end, "shared").objectives for end in (space.smallest(), space.largest())]
    return Scale(NAMES, (0.0, 0.0), tuple(1.01 * max(each[name] for each in found) for name in NAMES))


def searched(problem: Problem, task: str, method: str, seed: int, evaluations: int) -> Trial:
    """One method with one seed."""
    name, *changes = method.split(",")
    words = (f"+task={task}", f"search={name}", f"budget.evaluations={evaluations}", *changes)
    node = trials.composed(*words).search
    return trials.run((task, method, seed), node, problem.space, problem.memory, NAMES)


def record(trial: Trial, scale: Scale) -> dict[str, Any]:
    """A search as plain data; the curve has a number for every point asked."""
    return {
        "method": trial.method,
        "seed": trial.seed,
        "asked": trial.asked,
        "failures": len(trial.failures),
        "seconds": round(trial.seconds, 1),
        "scale": asdict(scale),
        "curve": trials.worth(trial, scale).tolist(),
    }


def search_all(problem: Problem, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Every method with every seed; what the folder has is not searched again."""
    path = given.folder / f"searches-{given.evaluations}.json"
    kept = read_json(path) if path.exists() else []
    scale = box(problem.space, problem.memory)
    for method, seed in product(given.methods, range(given.seeds)):
        if not any((each["method"], each["seed"]) == (method, seed) for each in kept):
            trial = searched(problem, given.task, method, seed, given.evaluations)
            kept.append(record(trial, scale))
            problem.memory.keep()
            write_json(path, kept)
            print(f"{method}, seed {seed}: {kept[-1]['curve'][-1]:.4f}, {trial.seconds:.0f} s", flush=True)
    return [each for each in kept if each["method"] in given.methods and each["seed"] < given.seeds]


def table(found: Sequence[dict[str, Any]], evaluations: int) -> str:
    """Markdown: mean and deviation over seeds after parts of the budget.

    Raises:
        UserError: the searches were recorded on different scales, so no table may show them together.
    """
    scales = {f"{each['method']} with seed {each['seed']}": scale_of(each) for each in found}
    scale = common_scale(scales)
    counts = sorted({evaluations // 3, 2 * evaluations // 3, evaluations})
    rows = []
    for method in dict.fromkeys(each["method"] for each in found):
        curves = [np.array(each["curve"]) for each in found if each["method"] == method]
        shown = [trials.spread_at(curves, count, lambda value: f"{value:.4f}") for count in counts]
        rows.append([method, *shown, " ".join(f"{curve[-1]:.4f}" for curve in curves)])
    columns = ["method", *(f"at {count}" for count in counts), "each seed"]
    return f"Hypervolume, share of the box {scale.text()}.\n\n{trials.markdown(columns, rows)}"


def scale_of(kept: dict[str, Any]) -> Scale:
    """The box that a search was recorded in."""
    about = kept["scale"]
    return Scale(tuple(about["names"]), tuple(about["ideal"]), tuple(about["reference"]))


def main() -> None:
    """Search, keep, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", type=Path, help="a run that has trained its supernet")
    parser.add_argument("folder", type=Path, help="where facts and results are kept")
    parser.add_argument("--task", default="synthetic")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--evaluations", type=int, default=300)
    parser.add_argument("--holdout", type=int, default=None, help="images that judge")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    problem = Problem.of(given.run, given.folder, given.task, given.holdout)
    text = table(search_all(problem, given), given.evaluations)
    (given.folder / "searchers.md").write_text(text, encoding="utf-8")
    print(text)
    memory = problem.memory
    each = memory.seconds / max(memory.measured, 1)
    print(f"Measured {memory.measured} new points, {each:.2f} s each.")


if __name__ == "__main__":
    main()
