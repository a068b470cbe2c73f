"""What the local engine costs and gains: workers, overhead, and not waiting for generations.

(a) 24 jobs of 0.2 s by two workers against one, sleeping and computing; a second worker should be worth 1.9.
(b) What one evaluation costs beside its measurement, which takes no time here: searcher, pipe, worker and the
    commit of the archive. 5 ms should do.
(c) 32 jobs of 0.05 to 0.4 s by two workers: batches of 8 and of 16 against a search that is asynchronous.

    python benchmarks/engine.py                      # 5 repetitions, under 3 minutes when nothing else runs
    python benchmarks/engine.py --json engine.json   # the figures as a file as well
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import torch
from engine_jobs import Timed

from evonas import files
from evonas.archive import Archive
from evonas.evaluate.engine import Job, Part
from evonas.evaluate.local import LocalEngine
from evonas.objectives.latency.machine import machine
from evonas.search.baselines.random import RandomSearch
from evonas.search.loop.asynchronous import asynchronous_search
from evonas.search.loop.generational import search
from evonas.space.genotype import Genotype
from evonas.supernets.evonet.space import evonet_space

SPACE = evonet_space()
PARTS: dict[str, Part] = {"error": "shared", "macs": "shared"}
PRINTS: dict[Part, str] = {"shared": "timed"}
JOB_S, UNEVEN_S = 0.2, (0.05, 0.4)
JOBS, POINTS, FREE_POINTS, IN_FLIGHT = 24, 32, 256, 4


def main(repetitions: int, target: Path | None) -> None:
    """Print one line for each figure, and write them all to `target`."""
    about = {**machine(torch.device("cpu")), "load": f"{os.getloadavg()[0]:.1f}"}
    print(", ".join(f"{key} {value}" for key, value in about.items() if value), flush=True)
    found: dict[str, Any] = {"machine": about, "repetitions": repetitions}
    for name, burns in (("sleeping", False), ("computing", True)):
        found[f"a {name}"] = two_workers(name, burns, repetitions)
    found["b"] = _overhead(repetitions)
    found["c"] = _uneven(repetitions)
    if target is not None:
        files.write_json(target, found)


def two_workers(name: str, burns: bool, repetitions: int) -> dict[str, Any]:
    """Seconds of the same jobs by one worker and by two, which compute or only sleep."""
    evaluator = Timed(JOB_S, JOB_S, burns)
    with closing(ready(evaluator, 1)) as one, closing(ready(evaluator, 2)) as two:
        pairs = [(_drained(one), _drained(two)) for _ in range(repetitions)]
    alone, both = ([pair[side] for pair in pairs] for side in (0, 1))
    ratios = [single / double for single, double in pairs]
    print(
        f"(a) {JOBS} jobs of {JOB_S} s, {name}: 1 worker {_spread(alone)} s, 2 workers {_spread(both)} s, "
        f"ratio {_spread(ratios)}",
        flush=True,
    )
    return {"one_s": alone, "two_s": both, "ratio": ratios}


def _overhead(repetitions: int) -> dict[str, Any]:
    evaluator = Timed(0.0, 0.0)
    with closing(ready(evaluator, 1)) as engine:
        batches = [_searched(engine, FREE_POINTS, population=16) for _ in range(repetitions)]
        steady = [_searched(engine, FREE_POINTS, in_flight=IN_FLIGHT) for _ in range(repetitions)]
    found = {}
    for name, walls in (("in batches of 16", batches), ("asynchronous", steady)):
        found[name] = [1000 * wall / FREE_POINTS for wall in walls]
        print(f"(b) one evaluation beside its measurement, {name}: {_spread(found[name])} ms", flush=True)
    return {"overhead_ms": found}


def _uneven(repetitions: int) -> dict[str, Any]:
    evaluator = Timed(*UNEVEN_S)
    ways = {
        "batches of 8": {"population": 8},
        "batches of 16": {"population": 16},
        f"asynchronous, {IN_FLIGHT} in flight": {"in_flight": IN_FLIGHT},
    }
    with closing(ready(evaluator, 2)) as engine:
        walls = {
            name: [_searched(engine, POINTS, seed=number, **way) for number in range(repetitions)]
            for name, way in ways.items()
        }
    busy = [_busy(evaluator, number) for number in range(repetitions)]
    found: dict[str, Any] = {}
    steady = list(walls.values())[-1]
    for name, each in walls.items():
        shares = [seconds / (2 * wall) for seconds, wall in zip(busy, each, strict=True)]
        ratios = [wall / last for wall, last in zip(each, steady, strict=True)]
        found[name] = {"wall_s": each, "busy_share": shares, "times_asynchronous": ratios}
        print(
            f"(c) {POINTS} jobs of {UNEVEN_S[0]} to {UNEVEN_S[1]} s, 2 workers, {name}: {_spread(each)} s, "
            f"workers busy {_spread(shares)}, {_spread(ratios)} times the asynchronous time",
            flush=True,
        )
    return found


def ready(evaluator: Timed, workers: int) -> LocalEngine:
    """An engine all of whose workers have started."""
    engine, heard, number = LocalEngine(evaluator, workers=workers), set[str](), count()
    points = _points(4 * workers)
    while len(heard) < workers:
        heard |= {outcome.worker for outcome in engine.run([Job(next(number), point) for point in points])}
    return engine


def _drained(engine: LocalEngine) -> float:
    began = time.monotonic()
    outcomes = list(engine.run([Job(seq, point) for seq, point in enumerate(_points(JOBS))]))
    assert all(outcome.measurement for outcome in outcomes)
    return time.monotonic() - began


def _searched(
    engine: LocalEngine, points: int, population: int = 16, in_flight: int = 0, seed: int = 0
) -> float:
    """Seconds of a search that asks the same random points whatever the way."""
    searcher = RandomSearch(SPACE, seed, population, points)
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive.open(Path(folder) / "archive.sqlite", {"seed": seed}, resume=False)
        with closing(archive):
            question = (searcher, engine, archive, SPACE, PARTS, PRINTS)
            began = time.monotonic()
            told = asynchronous_search(*question, in_flight, population) if in_flight else search(*question)
            wall = time.monotonic() - began
            assert told == len(archive.evaluations()) == points
    return wall


def _busy(evaluator: Timed, seed: int) -> float:
    """What the points of a search take in all."""
    return sum(evaluator.seconds(each) for each in RandomSearch(SPACE, seed, POINTS, POINTS).ask())


def _points(number: int) -> list[Genotype]:
    return RandomSearch(SPACE, 0, number, number).ask()


def _spread(values: Sequence[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    main(options.repetitions, options.json)
