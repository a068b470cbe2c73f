"""Every searcher on the public tables: what it reaches, and how soon, over seeds.

    python benchmarks/tables.py <folder with the tables> outputs/tables \
        --problems flops edgegpu raspi4 pixel3 segment --methods random nsga2 model_based \
        --seeds 10 --evaluations 1000

A method is a file of conf/search, perhaps with settings after commas: `regularized,search.tournament=5`.
No archive is written; the searcher, the space and the evaluator are those of `stage=search`. The folder gets
results.json, results.md, and curves and attainment surfaces as SVG. Every trial is kept below `trials` as
soon as it ends: the command may be stopped and typed again, with more seeds or methods, and runs what is
missing or was found by other code, config or tables.
"""

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import kept
import numpy as np
import pictures
import trials
from trials import Trial

from evonas import config
from evonas.objectives.tabular.evaluator import TableEvaluator
from evonas.report.analysis.indicators import Scale, indicators
from evonas.report.metrics.pareto import Values, front

BASELINE = "nsga2"


@dataclass(frozen=True)
class Problem:
    """A table and the columns that are searched."""

    task: str
    dataset: str
    objectives: tuple[str, ...]

    def overrides(self, root: str) -> tuple[str, ...]:
        """The words that choose it on the command line."""
        columns = ",".join(self.objectives)
        return (
            f"+task={self.task}",
            f"data.root={root}",
            f"data.dataset={self.dataset}",
            f"evaluator.objectives=[{columns}]",
        )


PROBLEMS = {
    "flops": Problem("nb201", "c10", ("test_error", "flops")),
    "edgegpu": Problem("nb201", "c10", ("error", "edgegpu_latency")),
    "raspi4": Problem("nb201", "c10", ("test_error", "raspi4_latency")),
    "pixel3": Problem("nb201", "c10", ("error", "pixel3_latency")),
    "segment": Problem("transnas_micro", "segmentsemantic", ("error", "flops")),
    # one objective: the error that is searched is the error that is reported
    "c10": Problem("nb201", "c10", ("test_error",)),
    "c100": Problem("nb201", "c100", ("test_error",)),
    "in16": Problem("nb201", "in16", ("test_error",)),
    # the honest protocol: search on validation, look at test afterwards
    "c10_valid": Problem("nb201", "c10", ("error",)),
    "c100_valid": Problem("nb201", "c100", ("error",)),
    "in16_valid": Problem("nb201", "in16", ("error",)),
}


@dataclass(frozen=True)
class Truth:
    """What the whole table says: the scale, and the exact front in the order of the first objective."""

    scale: Scale
    exact: Values

    @property
    def hypervolume(self) -> float:
        """That of the exact front."""
        return indicators(self.exact, self.scale).hypervolume


@cache
def evaluator_of(name: str, root: str) -> TableEvaluator:
    """The evaluator of a problem, ready to measure."""
    cfg = trials.composed(*PROBLEMS[name].overrides(root))
    evaluator: TableEvaluator = config.build(cfg.evaluator)
    evaluator.setup()
    return evaluator


def truth_of(name: str, root: str) -> Truth:
    """The exact optimum or front of a problem."""
    evaluator, names = evaluator_of(name, root), PROBLEMS[name].objectives
    values = np.stack([evaluator.table.column(column) for column in names], axis=1)
    values = values[np.isfinite(values).all(axis=1)]
    return Truth(Scale.over(names, values), values[front(values)])


def trial_of(name: str, method: str, seed: int, root: str, evaluations: int, folder: Path) -> Trial:
    """One method on one problem with one seed, run now or kept in the folder."""
    search, *changes = method.split(",")
    words = (f"search={search}", f"budget.evaluations={evaluations}", *changes)
    cfg = trials.composed(*PROBLEMS[name].overrides(root), *words)
    evaluator, about = evaluator_of(name, root), (name, method, seed)
    run = partial(trials.run, about, cfg.search, evaluator.space, evaluator, PROBLEMS[name].objectives)
    return kept.kept(folder, kept.identity(about, cfg.search, evaluator.fingerprint("shared")), run)


def tables_of(name: str, found: Sequence[Trial], truth: Truth, limit: int) -> str:
    """The Markdown of one problem."""
    methods = trials.by_method(found)
    if len(truth.scale.names) == 1:
        return _single(name, methods, truth)
    return _several(name, methods, truth, limit)


def _single(name: str, methods: Any, truth: Truth) -> str:
    best, rows = float(truth.exact[0, 0]), []
    for method, group in methods.items():
        curves = [trials.worth(trial, None) for trial in group]
        accuracies = [100 - curve for curve in curves]
        shown = [trials.spread_at(accuracies, count, _three) for count in (100, 200, 500)]
        hits = sum(curve[-1] <= best + 1e-9 for curve in curves)
        asked = f"{min(trial.asked for trial in group)} to {max(trial.asked for trial in group)}"
        last = trials.spread_of([100 - curve[-1] for curve in curves], _three)
        rows.append([method, *shown, last, f"{hits}/{len(group)}", asked, _seconds(group)])
    columns = ["method", "at 100", "at 200", "at 500", "at the end", "optimum found", "distinct", "s a seed"]
    return f"## {name}: accuracy, optimum {100 - best:.4f}\n\n" + trials.markdown(columns, rows)


def _several(name: str, methods: Any, truth: Truth, limit: int) -> str:
    curves = {
        method: [trials.worth(each, truth.scale) for each in group] for method, group in methods.items()
    }
    target = float(np.median([curve[-1] for curve in curves[BASELINE]])) if BASELINE in curves else None
    rows = []
    for method, group in methods.items():
        at = [trials.spread_at(curves[method], count, _five) for count in (100, 200, 500, limit)]
        ends = [indicators(trial.values, truth.scale, truth.exact) for trial in group]
        shortfall = trials.spread_of([each.igd_plus or 0.0 for each in ends], _five)
        size = trials.spread_of([each.front_size for each in ends], lambda value: f"{value:.1f}")
        soon = "-"
        if target is not None:
            least = min(trial.asked for trial in group)
            soon = trials.median_of([trials.needed(curve, target) for curve in curves[method]], least)
        rows.append([method, *at, shortfall, size, soon, _seconds(group)])
    columns = ["method", "at 100", "at 200", "at 500", f"at {limit}", "IGD+", "front", "needed", "s a seed"]
    head = (
        f"## {name}: {', '.join(truth.scale.names)}\n\nExact front: {len(truth.exact)} points, hypervolume "
        f"{truth.hypervolume:.5f}; scale: {truth.scale.text()}. "
    )
    reach = f"`needed`: points asked until {BASELINE}'s median at {limit}, {target:.5f}." if target else ""
    return f"{head}{reach}\n\n" + trials.markdown(columns, rows)


def _three(value: float) -> str:
    return f"{value:.3f}"


def _five(value: float) -> str:
    return f"{value:.5f}"


def _seconds(group: Sequence[Trial]) -> str:
    return f"{np.mean([trial.seconds for trial in group]):.1f}"


def search_all(given: argparse.Namespace) -> list[Trial]:
    """Every trial, in the order of problems, methods and seeds."""
    asked = [
        (name, method, seed, given.root, given.evaluations, given.folder / "trials")
        for name, method, seed in product(given.problems, given.methods, range(given.seeds))
    ]
    if given.processes <= 1:
        return [trial_of(*each) for each in asked]
    with ProcessPoolExecutor(given.processes) as pool:
        return list(pool.map(trial_of, *zip(*asked, strict=True)))


def write(folder: Path, given: argparse.Namespace, found: Sequence[Trial]) -> str:
    """Write JSON, Markdown and pictures; the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    text, results = "", []
    for name in given.problems:
        truth = truth_of(name, given.root)
        mine = [trial for trial in found if trial.problem == name]
        text += tables_of(name, mine, truth, given.evaluations) + "\n"
        scale = truth.scale if len(truth.scale.names) > 1 else None
        pictures.curves(folder / f"{name}.svg", name, trials.by_method(mine), scale)
        if scale is not None and len(scale.names) == 2:
            pictures.attained(folder / f"{name}-attained.svg", name, trials.by_method(mine), truth)
        results += [_record(trial, scale) for trial in mine]
    (folder / "results.md").write_text(text, encoding="utf-8")
    (folder / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    return text


def _record(trial: Trial, scale: Scale | None) -> dict[str, Any]:
    curve = trials.worth(trial, scale)
    steps = sorted({*range(9, len(curve), 10), len(curve) - 1}) if len(curve) else []
    return {
        "problem": trial.problem,
        "method": trial.method,
        "seed": trial.seed,
        "asked": trial.asked,
        "failures": len(trial.failures),
        "seconds": round(trial.seconds, 3),
        "scale": None if scale is None else asdict(scale),
        "curve": {step + 1: None if np.isnan(curve[step]) else float(curve[step]) for step in steps},
        "front": trial.values[front(trial.values)].tolist(),
    }


def main() -> None:
    """Search, write, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("root", type=str, help="the folder that holds the tables")
    parser.add_argument("folder", type=Path, help="where results are written")
    parser.add_argument("--problems", nargs="+", default=["flops", "segment"], choices=sorted(PROBLEMS))
    parser.add_argument("--methods", nargs="+", default=["random", BASELINE])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--evaluations", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    began = time.monotonic()
    print(write(given.folder, given, search_all(given)))
    print(f"{time.monotonic() - began:.0f} s; {given.folder / 'results.md'}")


if __name__ == "__main__":
    main()
