"""dry_run=true: what a search would cost, told from a few measurements that are kept nowhere."""

import json
import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from evonas.errors import EngineError
from evonas.evaluate.engine import PARTS, Engine, Job, Outcome, Part
from evonas.identifiers import identifier
from evonas.objectives.tabular.analytic import AnalyticEvaluator
from evonas.randomness import generator
from evonas.search.base import Observation, Searcher
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.stages.base import Context
from evonas.stages.build.engine import engine_for, exclusive_count, sharing_order, worker_count
from evonas.stages.build.setup import Setup
from evonas.track.progress import human_time

PROBES = 6
# every worker should have answered before anything counts; one that starts late gets another chance
_WARM_ROUNDS = 4
# generations and seconds that a searcher rehearses, at most
_REHEARSED = 6
_REHEARSAL_S = 2.0
# a commit and a searcher's share of a measurement
_OVERHEAD_S = 0.002
# what the archive stores of a fact beside its texts: digests, checksum, wall time, keys of the index
_FACT_BYTES = 420


@dataclass(frozen=True, slots=True)
class Load:
    """What a search asks for: points in all and at a time, workers of each part, and points in one pass."""

    evaluations: int
    population: int
    lanes: Mapping[Part, int]
    subnets_per_pass: int = 1


@dataclass(frozen=True, slots=True)
class _Batch:
    """Probes of one part that were measured as a generation would be, and the time until the last answer."""

    outcomes: Sequence[Outcome]
    wall_s: float

    @property
    def seconds(self) -> list[float]:
        """Of each measurement that succeeded."""
        return [outcome.seconds for outcome in self.outcomes if outcome.measurement]

    @property
    def pace(self) -> float:
        """Seconds a point, with all workers at work."""
        return self.wall_s / len(self.outcomes)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a search would cost.

    Args:
        seconds: of one measurement, per part: least, median, most; a pass is shared out among its points.
        startup_s: until the first answer.
        wall_s: of the whole search: low, expected, high.
        memory_mb: the most that a worker has used, or None where the system does not say.
        disk_mb: of the archive.
    """

    load: Load
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


def dry_run(context: Context, spec: Mapping[str, Any], parts: Sequence[Part], asking: Searcher) -> str:
    """Probe, print the estimate, and return the command that begins; no archive is made or touched."""
    cfg = context.cfg
    print("\n".join(probe(context.setup, spec, parts, asking).lines), flush=True)
    if cfg.get("evaluate") and identifier(cfg.evaluate["_target_"]) != "evaluate/full":
        print("counted as if every point were measured in full; a race leaves many early", flush=True)
    return f"Nothing was kept. Begin with: {context.run.command('search')}"


def probe(setup: Setup, spec: Mapping[str, Any], parts: Sequence[Part], asking: Searcher) -> Estimate:
    """What the search of a config would cost, told by an engine of its own.

    Args:
        spec: config of the evaluator.
        parts: those that the search measures.
        asking: a searcher like that of the search, which a rehearsal uses up.
    """
    cfg, space = setup.cfg, setup.space
    late = rehearsed(asking, space, len(cfg.get("objective") or ()) or 2)
    with closing(engine_for(cfg.hardware, spec, None, sharing_order(setup, spec))) as workers:
        return estimate(workers, space, _load(cfg, parts), cfg.seed, late)


def _load(cfg: DictConfig, parts: Sequence[Part]) -> Load:
    population = int(cfg.search.get("population") or cfg.budget.population)
    at_a_time = int(cfg.budget.get("in_flight") or population)
    lanes: dict[Part, int] = {
        "shared": max(worker_count(cfg.hardware), 1) if cfg.hardware.engine != "inline" else 1,
        "exclusive": exclusive_count(cfg.hardware),
    }
    of_parts = {part: lanes[part] for part in parts}
    return Load(int(cfg.budget.evaluations), at_a_time, of_parts, int(cfg.hardware.subnets_per_pass))


def rehearsed(asking: Searcher, space: Space, num_objectives: int) -> list[Genotype]:
    """What a searcher asks for later on, when the points have become alike, which makes passes cheaper.

    It searches closed forms of the genes for some generations: more capacity, less error and more cost.
    """
    names = ("error", *("macs", "latency")[: max(num_objectives - 1, 1)])
    pretend = AnalyticEvaluator(space, names)
    pretend.setup()
    limit, asked = time.monotonic() + _REHEARSAL_S, list[Genotype]()
    for _ in range(_REHEARSED):
        if time.monotonic() > limit or not (batch := asking.ask()):
            break
        asked = batch
        values = [pretend.values(genotype) for genotype in asked]
        found = [[value[names[min(at, 2) % len(names)]] for at in range(num_objectives)] for value in values]
        asking.tell([Observation(point, tuple(row)) for point, row in zip(asked, found, strict=True)])
    return asked


def estimate(
    engine: Engine, space: Space, load: Load, seed: int = 0, late: Sequence[Genotype] = ()
) -> Estimate:
    """Measure random genotypes as the first generation will be, then the corners, and work out the rest.

    Args:
        late: genotypes as later generations will be; without any they are taken to be like the first.

    Raises:
        EngineError: no probe could be measured.
    """
    began = time.monotonic()
    for part in load.lanes:
        _warm(engine, space, part, load.lanes[part])
    startup = time.monotonic() - began
    batches = {part: _measured(engine, _probes(space, load, part, seed)) for part in load.lanes}
    later = dict(batches)
    if "shared" in load.lanes and late:
        count = len(batches["shared"].outcomes)
        later["shared"] = _measured(engine, [Job(seq, point) for seq, point in enumerate(late[:count])])
    # the corners only widen what is told of single measurements
    corners = {part: _measured(engine, _corners(space, part)) for part in load.lanes}
    every = {part: [*batches[part].seconds, *corners[part].seconds] for part in load.lanes}
    return Estimate(
        load,
        {part: (min(times), statistics.median(times), max(times)) for part, times in every.items()},
        startup,
        _wall(load, batches, later, startup),
        _peak_mb(engine),
        load.evaluations * sum(_bytes(space, batch.outcomes) for batch in batches.values()) / 1e6,
    )


def _warm(engine: Engine, space: Space, part: Part, lanes: int) -> None:
    """Let every worker of a part load what it needs, and make what is made when first needed."""
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


def _probes(space: Space, load: Load, part: Part, seed: int) -> list[Job]:
    """Random genotypes: of the shared part a pass for every worker, but no more than a generation."""
    lanes = load.lanes[part]
    in_passes = min(load.population, lanes * load.subnets_per_pass) if part == "shared" else 0
    count = max(PROBES, 2 * lanes, in_passes)
    drawn = [space.sample(generator(seed, "dryrun", number)) for number in range(count)]
    return [Job(seq, genotype, part) for seq, genotype in enumerate(drawn)]


def _corners(space: Space, part: Part) -> list[Job]:
    return [Job(seq, each, part) for seq, each in enumerate([space.largest(), space.smallest()])]


def _wall(
    load: Load, first: Mapping[Part, _Batch], later: Mapping[Part, _Batch], startup: float
) -> tuple[float, float, float]:
    """Low, expected and high: at the pace of the probes, give or take twice its standard error or 15 %."""
    share = min(load.population / load.evaluations, 1.0)

    def wall(side: int) -> float:
        paces = {part: share * first[part].pace + (1 - share) * later[part].pace for part in first}
        moved = [pace * max(1 + side * _doubt(later[part]), 0.0) for part, pace in paces.items()]
        return startup + load.evaluations * sum(pace + _OVERHEAD_S for pace in moved)

    return wall(-1), wall(0), wall(1)


def _doubt(batch: _Batch) -> float:
    """Relative, of the mean of the probes."""
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
    peaks = [_high_water_mb(pid) for pid in getattr(engine, "pids", [os.getpid()])]
    known = [peak for peak in peaks if peak is not None]
    return max(known, default=None)


def _high_water_mb(pid: int) -> float | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(found[0]) / 1000 if found else None


def parts_of(objectives: Sequence[Any]) -> list[Part]:
    """The parts that a search measures, shared ones first."""
    return [part for part in PARTS if any(objective.part == part for objective in objectives)]
