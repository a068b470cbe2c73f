"""dry_run=true: the estimated cost of a search, from a few measurements that are not stored."""

import json
import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from evonas.errors import EngineError
from evonas.evaluate.engine import Engine, Job, Outcome, Part
from evonas.identifiers import identifier
from evonas.objectives.tabular.analytic import AnalyticEvaluator
from evonas.randomness import generator
from evonas.search.base import Observation, Searcher
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.stages.base import Context
from evonas.stages.build.engine import engine_for, exclusive_count, prefix_order, worker_count
from evonas.stages.build.setup import Setup
from evonas.track.progress import human_time

PROBES = 6
# rounds until every worker has answered, before anything is timed
_WARM_ROUNDS = 4
# most generations and seconds of a rehearsal
_REHEARSED = 6
_REHEARSAL_S = 2.0
# a commit and a searcher's share of a measurement
_OVERHEAD_S = 0.002
# bytes of an evaluation in the archive besides its texts: digests, checksum, wall time, keys of the index
_FACT_BYTES = 420


@dataclass(frozen=True, slots=True)
class Workload:
    """Points of a search in all and at a time, concurrent measurements of each part, and points in one pass."""

    evaluations: int
    population: int
    lanes: Mapping[Part, int]
    subnets_per_pass: int = 1


@dataclass(frozen=True, slots=True)
class _Batch:
    """Probes of one part, measured like a generation, and the time until the last outcome."""

    outcomes: Sequence[Outcome]
    wall_s: float

    @property
    def seconds(self) -> list[float]:
        """Durations of the measurements that succeeded."""
        return [outcome.seconds for outcome in self.outcomes if outcome.measurement]

    @property
    def seconds_per_point(self) -> float:
        """Wall-clock time of a point while all workers are busy."""
        return self.wall_s / len(self.outcomes)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimated cost of a search.

    Args:
        seconds: of one measurement, per part: minimum, median, maximum; the time of a pass is divided among its points.
        startup_s: until the first outcome.
        wall_s: of the whole search: low, expected, high.
        memory_mb: the peak of a worker, or None where the system does not report it.
        disk_mb: of the archive.
    """

    load: Workload
    seconds: Mapping[Part, tuple[float, float, float]]
    startup_s: float
    wall_s: tuple[float, float, float]
    memory_mb: float | None
    disk_mb: float

    @property
    def lines(self) -> list[str]:
        low, expected, high = (human_time(each) for each in self.wall_s)
        found = [f"{self.load.evaluations} points, {self.load.population} at a time"]
        for part, (least, median, most) in self.seconds.items():
            found.append(
                f"{part}: {median:.3g} s a measurement ({least:.3g} to {most:.3g}), "
                f"{self.load.lanes[part]} at a time"
            )
        memory = "unknown" if self.memory_mb is None else f"{self.memory_mb:.0f} MB"
        found.append(f"memory: {memory} per worker; disk: {self.disk_mb:.1f} MB")
        found.append(f"time: {expected} ({low} to {high}), of which {human_time(self.startup_s)} to start")
        return found


def dry_run(context: Context, spec: Mapping[str, Any], parts: Sequence[Part], searcher: Searcher) -> str:
    """Print the estimate and return the command that starts the search; no archive is created or changed."""
    cfg = context.cfg
    print("\n".join(probe(context.setup, spec, parts, searcher).lines), flush=True)
    if cfg.get("fidelity") and identifier(cfg.fidelity["_target_"]) != "evaluate/full":
        print("counted as if every point were measured in full; a race eliminates many early", flush=True)
    return f"Nothing was kept. Begin with: {context.run.command('search')}"


def probe(setup: Setup, spec: Mapping[str, Any], parts: Sequence[Part], searcher: Searcher) -> Estimate:
    """Estimate the cost of a search with an engine of its own.

    Args:
        spec: config of the evaluator.
        parts: those that the search measures.
        searcher: in its initial state; the rehearsal changes it.
    """
    cfg, space = setup.cfg, setup.space
    later = rehearse(searcher, space, len(cfg.get("objective") or ()) or 2)
    with closing(engine_for(cfg.hardware, spec, None, prefix_order(setup, spec))) as workers:
        return estimate(workers, space, _workload(cfg, parts), cfg.seed, later)


def _workload(cfg: DictConfig, parts: Sequence[Part]) -> Workload:
    population = int(cfg.search.get("population") or cfg.budget.population)
    at_a_time = int(cfg.budget.get("in_flight") or population)
    lanes: dict[Part, int] = {
        "shared": max(worker_count(cfg.hardware), 1) if cfg.hardware.engine != "inline" else 1,
        "exclusive": exclusive_count(cfg.hardware),
    }
    of_parts = {part: lanes[part] for part in parts}
    return Workload(int(cfg.budget.evaluations), at_a_time, of_parts, int(cfg.hardware.subnets_per_pass))


def rehearse(searcher: Searcher, space: Space, num_objectives: int) -> list[Genotype]:
    """Genotypes of a late generation, which are alike and therefore share more of a pass.

    The searcher runs some generations on closed forms of the genes: more capacity, less error and more cost.
    """
    names = ("error", *("macs", "latency")[: max(num_objectives - 1, 1)])
    closed_form = AnalyticEvaluator(space, names)
    closed_form.setup()
    limit, asked = time.monotonic() + _REHEARSAL_S, list[Genotype]()
    for _ in range(_REHEARSED):
        if time.monotonic() > limit or not (batch := searcher.ask()):
            break
        asked = batch
        values = [closed_form.values(genotype) for genotype in asked]
        found = [[value[names[min(at, 2) % len(names)]] for at in range(num_objectives)] for value in values]
        searcher.tell([Observation(point, tuple(row)) for point, row in zip(asked, found, strict=True)])
    return asked


def estimate(
    engine: Engine, space: Space, load: Workload, seed: int = 0, later: Sequence[Genotype] = ()
) -> Estimate:
    """Measure random genotypes like a first generation, then the corners of the space, and extrapolate.

    Args:
        later: genotypes like those of later generations; if empty, later generations count like the first.

    Raises:
        EngineError: no probe could be measured.
    """
    began = time.monotonic()
    for part in load.lanes:
        _warm(engine, space, part, load.lanes[part])
    startup = time.monotonic() - began
    batches = {part: _measured(engine, _probes(space, load, part, seed)) for part in load.lanes}
    later_batches = dict(batches)
    if "shared" in load.lanes and later:
        count = len(batches["shared"].outcomes)
        later_batches["shared"] = _measured(
            engine, [Job(seq, point) for seq, point in enumerate(later[:count])]
        )
    # the corners only widen the range of single measurements
    points = [space.largest(), space.smallest()]
    corners = {
        part: _measured(engine, [Job(seq, point, part) for seq, point in enumerate(points)])
        for part in load.lanes
    }
    every = {part: [*batches[part].seconds, *corners[part].seconds] for part in load.lanes}
    return Estimate(
        load,
        {part: (min(times), statistics.median(times), max(times)) for part, times in every.items()},
        startup,
        _wall(load, batches, later_batches, startup),
        _peak_mb(engine),
        load.evaluations * sum(_bytes(space, batch.outcomes) for batch in batches.values()) / 1e6,
    )


def _warm(engine: Engine, space: Space, part: Part, lanes: int) -> None:
    """Measure until every worker of a part has loaded its weights and data."""
    smallest, answered = space.smallest(), set[str]()
    for _ in range(_WARM_ROUNDS):
        jobs = [Job(seq, smallest, part) for seq in range(lanes)]
        answered |= {outcome.worker for outcome in engine.run(jobs)}
        if len(answered) >= lanes:
            return


def _measured(engine: Engine, jobs: Sequence[Job]) -> _Batch:
    began = time.monotonic()
    outcomes = list(engine.run(jobs))
    found = _Batch(outcomes, time.monotonic() - began)
    if not found.seconds:
        raise EngineError(f"No probe of the part {jobs[0].part} could be measured: {outcomes[0].reason}")
    return found


def _probes(space: Space, load: Workload, part: Part, seed: int) -> list[Job]:
    """Random genotypes; of the shared part a pass for every worker, but no more than a generation."""
    lanes = load.lanes[part]
    in_passes = min(load.population, lanes * load.subnets_per_pass) if part == "shared" else 0
    count = max(PROBES, 2 * lanes, in_passes)
    drawn = [space.sample(generator(seed, "dryrun", number)) for number in range(count)]
    return [Job(seq, genotype, part) for seq, genotype in enumerate(drawn)]


def _wall(
    load: Workload, first: Mapping[Part, _Batch], later: Mapping[Part, _Batch], startup: float
) -> tuple[float, float, float]:
    """Low, expected and high, from the probes plus or minus twice their standard error, at least 15 %."""
    share = min(load.population / load.evaluations, 1.0)

    def wall(side: int) -> float:
        expected = {
            part: share * first[part].seconds_per_point + (1 - share) * later[part].seconds_per_point
            for part in first
        }
        points = [
            seconds * max(1 + side * _relative_error(later[part]), 0.0) for part, seconds in expected.items()
        ]
        return startup + load.evaluations * sum(seconds + _OVERHEAD_S for seconds in points)

    return wall(-1), wall(0), wall(1)


def _relative_error(batch: _Batch) -> float:
    """Twice the relative standard error of the mean, at least 0.15."""
    times = batch.seconds
    return max(2 * statistics.pstdev(times) / math.sqrt(len(times)) / statistics.fmean(times), 0.15)


def _bytes(space: Space, outcomes: Sequence[Outcome]) -> float:
    sizes = [
        _FACT_BYTES
        + 3 * len(space.format(each.job.genotype))
        + len(json.dumps([dict(each.measurement.objectives), dict(each.measurement.extra)]))
        for each in outcomes
        if each.measurement
    ]
    return statistics.fmean(sizes)


def _peak_mb(engine: Engine) -> float | None:
    """The largest peak of resident memory among the workers."""
    peaks = []
    for pid in getattr(engine, "pids", [os.getpid()]):
        # a worker may have ended, and only Linux has the file
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
            peaks += [int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM")]
    return max(peaks, default=None)
