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

from evonas.config import build
from evonas.errors import EngineError
from evonas.evaluate.engine import PARTS, Engine, Job, Outcome, Part
from evonas.randomness import generator
from evonas.space.space import Space
from evonas.stages.base import Context
from evonas.stages.engines import engine_for, exclusive_count, worker_count
from evonas.track.progress import human_time

PROBES = 6
# a commit, a message and a searcher's share of a measurement
_OVERHEAD_S = 0.004
# what the archive stores of a fact beside its texts: digests, checksum, wall time, keys of the index
_FACT_BYTES = 420


@dataclass(frozen=True, slots=True)
class Load:
    """What a search asks for: points in all and at a time, and how many workers each part has."""

    evaluations: int
    population: int
    lanes: Mapping[Part, int]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a search would cost.

    Args:
        seconds: of one measurement, per part: least, median, most.
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
        """The estimate for people."""
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


def dry_run(context: Context, spec: Mapping[str, Any], parts: Sequence[Part]) -> str:
    """Probe, print the estimate, and return the command that begins; no archive is made or touched."""
    cfg = context.cfg
    population = int(cfg.search.get("population") or cfg.budget.population)
    lanes: dict[Part, int] = {
        "shared": max(worker_count(cfg.hardware), 1) if cfg.hardware.engine != "inline" else 1,
        "exclusive": exclusive_count(cfg.hardware),
    }
    load = Load(int(cfg.budget.evaluations), population, {part: lanes[part] for part in parts})
    with closing(engine_for(cfg.hardware, spec, None)) as workers:
        found = estimate(workers, build(cfg.space), load, cfg.seed)
    print("\n".join(found.lines), flush=True)
    return f"Nothing was kept. Begin with: {context.run.command('search')}"


def estimate(engine: Engine, space: Space, load: Load, seed: int = 0) -> Estimate:
    """Measure smallest, largest and some random genotypes, and work out the rest.

    Raises:
        EngineError: no probe could be measured.
    """
    began = time.monotonic()
    warm = space.format(space.smallest())
    list(engine.run([Job(seq, warm, part) for seq, part in enumerate(load.lanes)]))
    startup = time.monotonic() - began
    outcomes = list(engine.run(_probes(space, load, seed)))
    random = {part: _seconds(outcomes, part, corners=False) for part in load.lanes}
    every = {part: _seconds(outcomes, part, corners=True) for part in load.lanes}
    return Estimate(
        load,
        {part: (min(times), statistics.median(times), max(times)) for part, times in every.items()},
        startup,
        _wall(load, random, startup),
        _peak_mb(engine),
        load.evaluations * sum(_bytes(outcomes, part) for part in load.lanes) / 1e6,
    )


def _probes(space: Space, load: Load, seed: int) -> list[Job]:
    """Random genotypes first, then the corners, which only widen what is told of single measurements."""
    count = max(PROBES, 2 * max(load.lanes.values()))
    drawn = [space.format(space.sample(generator(seed, "dryrun", number))) for number in range(count)]
    texts = [*drawn, space.format(space.largest()), space.format(space.smallest())]
    return [Job(seq, text, part) for part in load.lanes for seq, text in enumerate(texts)]


def _seconds(outcomes: Sequence[Outcome], part: Part, corners: bool) -> list[float]:
    of_part = [outcome for outcome in outcomes if outcome.job.part == part]
    last = max(outcome.job.seq for outcome in of_part)
    wanted = [each for each in of_part if each.measurement and (corners or each.job.seq < last - 1)]
    if not wanted:
        raise EngineError(f"No probe of the part {part} could be measured: {of_part[0].reason}")
    # a worker's first measurement pays for what is made when first needed
    first = {each.worker: each for each in reversed(of_part)}
    calm = [each.seconds for each in wanted if first[each.worker] is not each]
    return calm or [each.seconds for each in wanted]


def _wall(load: Load, random: Mapping[Part, Sequence[float]], startup: float) -> tuple[float, float, float]:
    """Low, expected and high: the mean of the probes, and twice its standard error, at least 15 %."""
    spread = {
        part: max(2 * statistics.pstdev(times) / math.sqrt(len(times)), 0.15 * statistics.fmean(times))
        for part, times in random.items()
    }
    means = {part: statistics.fmean(times) for part, times in random.items()}

    def wall(side: int) -> float:
        moved = {part: means[part] + side * spread[part] for part in means}
        return startup + sum(
            _part_wall(load, load.lanes[part], max(each, 0.0)) for part, each in moved.items()
        )

    return wall(-1), wall(0), wall(1)


def _part_wall(load: Load, lanes: int, seconds: float) -> float:
    """Every generation waits for its last measurement: on average half of one while lanes run dry."""
    generations = math.ceil(load.evaluations / max(load.population, 1))
    dry = generations * seconds * (lanes - 1) / (2 * lanes)
    return load.evaluations * (seconds / lanes + _OVERHEAD_S) + dry


def _bytes(outcomes: Sequence[Outcome], part: Part) -> float:
    sizes = [
        _FACT_BYTES
        + 3 * len(each.job.genotype)
        + len(json.dumps([dict(each.measurement.objectives), dict(each.measurement.extra)]))
        for each in outcomes
        if each.job.part == part and each.measurement
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
