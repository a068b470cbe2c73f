"""What racing spends, and what it loses: NSGA-II on a run's supernet, in full and racing, seed by seed.

Every number is measured by the run's own evaluator. Two things are asked of a race: how many image
evaluations it spent of those that all of its points would have taken, and what of the hypervolume it kept,
compared with all its points measured in full. A third column compares it with the full search of the same
seed, which goes another way from the second generation on, so it also shows what chance does to a search.

    python benchmarks/engine_racing.py <run>              # folder of a finished demo; about five minutes
    python benchmarks/engine_racing.py <run> --seeds 5 --evaluations 320 --images 1024
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from evonas.archive import Archive
from evonas.config import to_plain
from evonas.evaluate.engine import Measurement, Part
from evonas.evaluate.inline import InlineEngine
from evonas.objectives.evaluator import Evaluator
from evonas.objectives.latency.machine import machine
from evonas.report.metrics.hypervolume import hypervolume
from evonas.report.metrics.pareto import Values
from evonas.search.base import Observation
from evonas.search.evolution.nsga2 import NSGA2
from evonas.search.loop.evaluation import Fidelity, Full
from evonas.search.loop.generational import Generation, search
from evonas.search.loop.racing import Racing, image_evaluations
from evonas.space.genotype import Genotype
from evonas.stages.build import factory

MARGIN = 1.1
OBJECTIVES = {
    "error": {"_target_": "evonas.objectives.error.Error"},
    "macs": {"_target_": "evonas.objectives.analytic_costs.Macs"},
}
PARTS: dict[str, Part] = {"error": "shared", "macs": "shared"}


class Remembering:
    """The evaluator itself, which measures nothing twice."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.inner, self._known = evaluator, dict[tuple[Genotype, int | None], Measurement | Exception]()
        self.objectives, self.fingerprint = evaluator.objectives, evaluator.fingerprint

    def __call__(self) -> "Remembering":
        return self

    @property
    def num_images(self) -> int:
        """Images of the holdout split."""
        return self.inner.num_images

    def setup(self) -> None:
        """Nothing; the evaluator is ready."""

    def measure(self, genotype: Genotype, part: Part) -> Measurement:
        """In full."""
        [answer] = self.measure_together([genotype], part)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def measure_together(
        self, genotypes: Sequence[Genotype], part: Part, images: int | None = None
    ) -> list[Measurement | Exception]:
        """See `evonas.evaluate.engine.BatchEvaluator`."""
        missing = [each for each in dict.fromkeys(genotypes) if (each, images) not in self._known]
        answers = self.inner.measure_together(missing, part, images) if missing else []
        self._known.update(zip(((each, images) for each in missing), answers, strict=True))
        return [self._known[each, images] for each in genotypes]


def main() -> None:
    """Print a row for each seed, and their means."""
    options = _options()
    about = machine(torch.device("cpu"))
    print(f"{about['name']}, {about['cores']} cores, torch {about['torch']}, float32")
    evaluator = Remembering(_evaluator(options.run, options.images))
    print(f"NSGA-II, {options.evaluations} points, {options.images} images, defaults of fidelity=racing\n")
    print("| seed | image evaluations | hypervolume kept | against full | in full |\n|---|---|---|---|---|")
    rows = [_row(evaluator, seed, options) for seed in range(options.seeds)]
    for column, name in enumerate(("image evaluations", "hypervolume kept", "against full")):
        values = [row[column] for row in rows]
        print(f"{name}: mean {statistics.fmean(values):.4f}, {min(values):.4f} to {max(values):.4f}")
    if options.json:
        found = {"machine": about, "rows": rows}
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a run that has a supernet")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--evaluations", type=int, default=128)
    parser.add_argument("--population", type=int, default=16)
    parser.add_argument(
        "--images", type=int, default=512, help="of the holdout split, if the data can give them"
    )
    parser.add_argument("--json", help="where to write the numbers too")
    return parser.parse_args()


def _evaluator(run: Path, images: int) -> Evaluator:
    """Error and multiply-adds of the run's supernet; rendered data give as many images as are asked for."""
    [latest] = sorted(run.glob("attempts/*/config.yaml"))[-1:]
    cfg = OmegaConf.load(latest)
    task: dict[str, Any] = to_plain(cfg.task)
    task["data"] = {**task["data"], "holdout": images}
    made = Evaluator(
        to_plain(cfg.space),
        to_plain(cfg.network),
        task,
        OBJECTIVES,
        str(run / factory.SUPERNET),
        cfg.hardware.eval_batch_size,
    )
    made.setup()
    return made


def _row(evaluator: Remembering, seed: int, options: argparse.Namespace) -> tuple[float, ...]:
    told, share = _searched(evaluator, Racing(), seed, options)
    full, _ = _searched(evaluator, Full(), seed, options)
    reference = (MARGIN * _values(full[: options.population]).max(axis=0)).tolist()
    points = [each.genotype for each in told]
    truth = np.array(
        [list(each.objectives.values()) for each in evaluator.measure_together(points, "shared")]  # type: ignore[union-attr]
    )
    found = hypervolume(_values([each for each in told if not each.estimated]), reference)
    row = (
        share,
        found / hypervolume(truth, reference),
        found / hypervolume(_values(full), reference),
        float(sum(not each.estimated for each in told)),
    )
    print(f"| {seed} | {row[0]:.1%} | {row[1]:.4f} | {row[2]:.4f} | {row[3]:.0f} |", flush=True)
    return row


def _searched(
    evaluator: Remembering, fidelity: Fidelity, seed: int, options: argparse.Namespace
) -> tuple[list[Observation], float]:
    """Everything told, and the share of image evaluations that were spent."""
    space = evaluator.inner._context.space
    prints: dict[Part, str] = {"shared": evaluator.fingerprint("shared")}
    told: list[Observation] = []

    def note(generation: Generation) -> None:
        told.extend(generation.told)

    with tempfile.TemporaryDirectory() as folder:
        about = {"fingerprints": prints, **fidelity.prepare(evaluator)}
        with Archive.open(Path(folder) / "archive.sqlite", about, resume=False) as archive:
            asking = NSGA2(space, seed, population=options.population, evaluations=options.evaluations)
            engine = InlineEngine(evaluator, subnets_per_pass=options.population)
            search(asking, engine, archive, space, PARTS, prints, note, fidelity=fidelity)
            counts = image_evaluations(archive)
    return told, 1.0 if counts is None else counts[0] / counts[1]


def _values(told: Sequence[Observation]) -> Values:
    return np.array([each.objectives for each in told if each.objectives is not None], dtype=float)


if __name__ == "__main__":
    main()
