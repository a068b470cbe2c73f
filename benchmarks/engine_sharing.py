"""What measuring subnets together is worth in time.

NSGA-II searches the run's supernet, then the last ten generations are measured again, one subnet after the
other and together, on the same images and in this process. Both must give the same bits.
Beside it, what one evaluation takes compared to the bare forwards of the extracted network.

    python benchmarks/engine_sharing.py <run>             # folder of a finished demo; about two minutes
    python benchmarks/engine_sharing.py                   # the demo's supernet with random weights
    python benchmarks/engine_sharing.py <run> --json sharing.json
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from evonas import schema, weights
from evonas.cli import conf_dir
from evonas.config import to_plain
from evonas.objectives.evaluator import Evaluator
from evonas.objectives.latency.machine import machine
from evonas.search.base import Observation
from evonas.search.evolution.nsga2 import NSGA2
from evonas.space.genotype import Genotype
from evonas.stages.build import factory
from evonas.stages.build.setup import Setup
from evonas.supernets.supernet import extract

REPEATS, LAST, IMAGES = 5, 10, 8
OBJECTIVES = {
    "error": {"_target_": "evonas.objectives.error.Error"},
    "macs": {"_target_": "evonas.objectives.analytic_costs.Macs"},
}
Rows = list[tuple[str, list[float]]]


def main() -> None:
    """Search, measure again and print a table; each row with the spread over its repetitions."""
    options = _options()
    torch.set_num_threads(1)
    about = machine(torch.device("cpu"))
    print(f"{about['name']}, {about['cores']} cores, torch {about['torch']}, one thread, float32\n")
    with tempfile.TemporaryDirectory() as folder:
        rows = _times(evaluator_of(options.run, Path(folder)), options)
    print("| what | median | least | most |\n|---|---|---|---|")
    for name, values in rows:
        print(f"| {name} | {statistics.median(values):.3f} | {min(values):.3f} | {max(values):.3f} |")
    if options.json:
        found = {"machine": about, "rows": dict(rows)}
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("run", nargs="?", type=Path, help="folder of a run that has a supernet")
    parser.add_argument(
        "--mutation-prob", type=float, default=1.0, help="0.1 as published; the rest is mated"
    )
    parser.add_argument("--population", type=int, default=16)
    parser.add_argument("--generations", type=int, default=30)
    parser.add_argument("--json", help="where to write the numbers too")
    return parser.parse_args()


def evaluator_of(run: Path | None, folder: Path, images: int = IMAGES) -> Evaluator:
    """Error and multiply-adds of a run's supernet, or of the demo's with random weights."""
    if run is None:
        cfg, path = _demo(), folder / "supernet.safetensors"
        weights.save(path, factory.supernet(Setup(cfg)).state_dict())
    else:
        cfg, path = OmegaConf.load(run / "attempts/001/config.yaml"), run / factory.SUPERNET
    task = to_plain(cfg.task)
    task["data"] = {**task["data"], "holdout": images}
    made = Evaluator(
        to_plain(cfg.space), to_plain(cfg.network), task, OBJECTIVES, str(path), cfg.hardware.eval_batch_size
    )
    made.setup()
    return made


def _demo() -> DictConfig:
    schema.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", overrides=["+task=synthetic", "network=nano"])


def _times(evaluator: Evaluator, options: argparse.Namespace) -> Rows:
    found = searched(evaluator, options.population, options.generations, options.mutation_prob)
    generations = found[-LAST:]
    ways: dict[str, Callable[[Sequence[Genotype]], list[Any]]] = {
        "one by one": lambda points: [evaluator.measure(point, "shared") for point in points],
        "in bundles of 8": lambda points: bundled(evaluator, points, 8),
        "a generation together": lambda points: bundled(evaluator, points, len(points)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    expected = [sorted(map(str, ways["one by one"](points))) for points in generations]
    for _ in range(REPEATS):
        for name, way in ways.items():
            begin = time.perf_counter()
            answers = [sorted(map(str, way(points))) for points in generations]
            seconds[name].append(time.perf_counter() - begin)
            assert answers == expected, f"{name} gives other numbers"
    alone = seconds["one by one"]
    subnets = sum(map(len, generations))
    rows = [(f"{name}: {subnets} subnets, {IMAGES} images, s", values) for name, values in seconds.items()]
    for name in list(ways)[1:]:
        rows.append((f"{name}: times as fast", [a / b for a, b in zip(alone, seconds[name], strict=True)]))
    return [*rows, ("one evaluation / bare forwards", overhead(evaluator, generations[-1]))]


def searched(evaluator: Evaluator, size: int, generations: int, mutation_prob: float) -> list[list[Genotype]]:
    """What NSGA-II asked for, generation by generation."""
    space, path, asked = evaluator._context.space, evaluator._context.family.path, []
    searcher = NSGA2(space, 0, size, size * generations, mutation_prob=mutation_prob)
    while points := searcher.ask():
        ordered = sorted(points, key=path)
        answers = dict(zip(ordered, evaluator.measure_together(ordered, "shared"), strict=True))
        searcher.tell(
            [
                Observation(
                    point,
                    None
                    if isinstance(answers[point], Exception)
                    else tuple(answers[point].objectives.values()),
                )
                for point in points
            ]
        )
        asked.append(points)
    return asked


def bundled(evaluator: Evaluator, points: Sequence[Genotype], size: int) -> list[Any]:
    """As engines do it: neighbours in the order of their beginnings go together."""
    ordered = sorted(points, key=evaluator._context.family.path)
    return [
        answer
        for start in range(0, len(ordered), size)
        for answer in evaluator.measure_together(ordered[start : start + size], "shared")
    ]


def overhead(evaluator: Evaluator, points: Sequence[Genotype]) -> list[float]:
    """How many times the bare forwards of an extracted network its evaluation takes, for a few networks."""
    bench, ratios = evaluator._context, []
    for point in points[:REPEATS]:
        net = extract(bench.supernet, point).requires_grad_(False)
        bare, whole = [], []
        with torch.inference_mode():
            for _ in range(REPEATS + 1):
                bare.append(_timed(lambda net=net: [net(batch["image"]) for batch in bench.batches]))
                whole.append(_timed(lambda point=point: evaluator.measure(point, "shared")))
        ratios.append(statistics.median(whole[1:]) / statistics.median(bare[1:]))
    return ratios


def _timed(act: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
