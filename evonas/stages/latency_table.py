"""stage=latency_table: a lookup table of this machine's latencies, and how well it predicts whole networks."""

import logging
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from evonas.config import build, to_plain
from evonas.errors import UserError
from evonas.identifiers import identified
from evonas.objectives.context import EvaluationContext
from evonas.objectives.latency.benchmark import NOMINAL, Plan, measure_again, measure_credibly
from evonas.objectives.latency.cpu_affinity import pinned
from evonas.objectives.latency.lookup_table import KINDS, LatencyTable, Network, Vector, compare, corrected
from evonas.objectives.latency.machine import machine
from evonas.objectives.latency.predicted import about
from evonas.objectives.latency.reference_timing import (
    Reference,
    TimedRunner,
    counting_preemptions,
    with_reference,
)
from evonas.randomness import generator
from evonas.runtimes.base import AUTO, clock_for, torch_threads
from evonas.runtimes.choice import Auto
from evonas.runtimes.torch_eager import TorchEager, torch_once
from evonas.space.genotype import Genotype
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.build.evaluator import torch_device
from evonas.stages.build.setup import LATENCY_TABLE
from evonas.supernets.profile import profile
from evonas.supernets.supernet import Supernet, extract
from evonas.track.progress import Progress

log = logging.getLogger(__name__)

# short rounds some time apart, so that a disturbance reaches only one of them
ROUNDS = 2
_STEP = Plan(warmup=2, warmup_seconds=0.01, seconds=0.02, max_seconds=0.04, min_repeats=5, max_repeats=50)
_WHOLE = Plan(warmup=2, warmup_seconds=0.04, min_repeats=5, max_repeats=50)


@dataclass(frozen=True, slots=True)
class _Benchmark:
    """What all timings share: evaluation context, supernet, image and clock."""

    evaluation: EvaluationContext
    supernet: Supernet
    image: Tensor
    clock: str


class BuildLatencyTable:
    """Times every block of the space and some whole networks, and writes `lookup/table.json`.

    It needs no trained weights, because latencies do not depend on them.

    Args:
        threads: CPU threads of a forward pass.
        pin: on Linux, keep a CPU measurement on the idlest cores.
        fit: networks that the correction and the predictor are fitted on.
        held_out: networks that both are tested on.
        seconds: how long each of these networks is timed, in two rounds, references included.
    """

    needs_task = True

    def __init__(
        self, threads: int = 1, pin: bool = True, fit: int = 30, held_out: int = 30, seconds: float = 0.4
    ) -> None:
        if min(threads, 1) < 1 or fit < 5 or held_out < 5:
            raise UserError(
                f"A latency table cannot use threads={threads} fit={fit} held_out={held_out}.",
                "threads must be at least 1, fit and held_out at least 5.",
            )
        self.threads, self.pin, self.fit, self.held_out = threads, pin, fit, held_out
        self._plan = replace(_WHOLE, seconds=seconds / ROUNDS / 2, max_seconds=seconds / ROUNDS)

    def run(self, context: Context) -> str:
        """Build the table and print how well it predicts; returns its path.

        Timings that other programs disturb are repeated, and those of the other round are taken where they stay
        doubtful.

        Raises:
            UserError: another runtime than torch is asked for.
            DisturbedError: other programs left no measurement of a reference.
        """
        _refuse_other_runtimes(context)
        began = time.monotonic()
        benchmark = _benchmark(context, self.threads)
        is_pinned = self.pin and benchmark.evaluation.device.type == "cpu"
        with pinned(self.threads, is_pinned), torch.inference_mode(), torch_threads(self.threads):
            table = self._table(context, benchmark)
        table = replace(table, seconds=time.monotonic() - began)
        path = context.run.path(LATENCY_TABLE)
        table.save(path)
        print(f"{len(table.entries)} steps on {table.about['machine']['name']}, {table.seconds:.0f} s")
        for kind, held_out in table.held_out.items():
            print(f"  {kind}: {held_out.line}")
        return str(path)

    def _table(self, context: Context, benchmark: _Benchmark) -> LatencyTable:
        drawn = _drawn(benchmark.supernet, self.fit + self.held_out, context.cfg.seed)
        with Progress("lookup", ROUNDS * len(drawn) + ROUNDS, unit="step") as progress:
            step_reference, network_reference = _references(benchmark)
            blocks: list[dict[str, _Timed]] = []
            wholes: list[list[_Timed]] = []
            for _ in range(ROUNDS):
                blocks.append(_time_steps(benchmark, step_reference))
                progress.advance()
                wholes.append([])
                for genotype in drawn:
                    runner = with_reference(_network_runner(benchmark, genotype), *network_reference)
                    wholes[-1].append(_timed(runner, self._plan))
                    progress.advance()
        steps = _mean_of_rounds([[each[name] for name in blocks[0]] for each in blocks])
        entries = {name: each.ms for name, each in zip(blocks[0], steps, strict=True)}
        fixed = entries.pop("")
        networks = _mean_of_rounds(wholes)
        doubtful = sum(each.is_doubtful for each in (*steps, *networks))
        if doubtful:
            log.warning(
                "%d of %d latencies are doubtful: other programs disturbed each of their timings. Build the table "
                "again when the computer has less to do.",
                doubtful,
                len(steps) + len(networks),
            )
        facts = {**about(benchmark.evaluation), "threads": self.threads, "clock": benchmark.clock}
        facts["doubtful"] = [doubtful, len(steps) + len(networks)]
        facts["machine"] = machine(benchmark.evaluation.device)
        return _fitted(
            LatencyTable(facts, entries, fixed),
            benchmark,
            drawn,
            np.array([each.ms for each in networks]),
            self.fit,
        )


def _refuse_other_runtimes(context: Context) -> None:
    """Raise a UserError for a runtime that blocks cannot be timed in, since they are no networks of their own."""
    config = context.cfg.get("runtime")
    runtime = build(to_plain(config)) if config else Auto()
    if not isinstance(runtime, Auto) and type(runtime) is not TorchEager:
        raise UserError(
            f"A latency table is of blocks in torch, not in {runtime.name}.",
            "runtime=torch, or measure whole networks in a search: objective=[error,latency]",
        )


def _benchmark(context: Context, threads: int) -> _Benchmark:
    cfg = context.cfg
    place = torch_device(cfg.hardware.accelerator)
    configs = identified({key: to_plain(cfg[key]) for key in ("space", "network", "task")})
    bench = EvaluationContext(**configs, path="", device=place, precision=cfg.hardware.precision)
    supernet = factory.supernet(context.setup).eval().requires_grad_(False).to(bench.device)
    drawn = torch.Generator().manual_seed(0)
    image = torch.randn((1, 3, *bench.input_size), generator=drawn).to(bench.device)
    clock = clock_for(AUTO, TorchEager, bench.device, threads)
    return _Benchmark(bench, supernet, image, clock)


def _drawn(supernet: Supernet, count: int, seed: int) -> list[Genotype]:
    """Distinct random genotypes."""
    space = supernet.space
    found: dict[Genotype, None] = {}
    number = 0
    while len(found) < count and number < 100 * count:
        found[space.sample(generator(seed, "lookup", number))] = None
        number += 1
    return list(found)


def _references(benchmark: _Benchmark) -> tuple[Reference, Reference]:
    """The references of steps and of whole networks: one block of the space, and its smallest network."""
    block = next(step for step in profile(benchmark.supernet, benchmark.image) if step.label)
    smallest = benchmark.supernet.space.smallest()
    runners = _runner(benchmark, block.run, block.given), _network_runner(benchmark, smallest)
    first, second = ((runner, measure_credibly(runner, NOMINAL).fastest) for runner in runners)
    return first, second


@dataclass(frozen=True, slots=True)
class _Timed:
    """Milliseconds, and whether they are no measurement because other programs left none."""

    ms: float = 0.0
    is_doubtful: bool = False

    def __add__(self, other: "_Timed") -> "_Timed":
        return _Timed(self.ms + other.ms, self.is_doubtful or other.is_doubtful)


def _timed(take: TimedRunner, plan: Plan) -> _Timed:
    timing = measure_again(take, plan)
    return _Timed(timing.median, bool(timing.doubt))


def _mean_of_rounds(rounds: Sequence[Sequence[_Timed]]) -> list[_Timed]:
    """The mean of each timing over the rounds that measured it, or over all where none did, which stays doubtful."""
    found = []
    for timings in zip(*rounds, strict=True):
        measured = [each for each in timings if not each.is_doubtful]
        found.append(_Timed(statistics.fmean(each.ms for each in measured or timings), not measured))
    return found


def _time_steps(benchmark: _Benchmark, reference: Reference) -> dict[str, _Timed]:
    """Timings by label; the steps of every network are summed under the empty label."""
    found: dict[str, _Timed] = defaultdict(_Timed, {"": _Timed()})
    for step in profile(benchmark.supernet, benchmark.image):
        runner = with_reference(_runner(benchmark, step.run, step.given), *reference)
        found[step.label] += _timed(runner, _STEP)
    return dict(found)


def _network_runner(benchmark: _Benchmark, genotype: Genotype) -> TimedRunner:
    subnet = extract(benchmark.supernet, genotype).eval().requires_grad_(False)
    return _runner(benchmark, subnet, benchmark.image)


def _runner(benchmark: _Benchmark, run: Callable[[Tensor], object], given: Tensor) -> TimedRunner:
    return counting_preemptions(torch_once(run, given, benchmark.evaluation.autocast, clock=benchmark.clock))


def _fitted(
    table: LatencyTable, benchmark: _Benchmark, drawn: Sequence[Genotype], times: Vector, fit: int
) -> LatencyTable:
    """The table, corrected on the first networks and tested on the rest."""
    height, width = benchmark.image.shape[-2:]
    networks = [Network.of(benchmark.supernet.family, genotype, (height, width)) for genotype in drawn]
    found = corrected(table, networks[:fit], times[:fit])
    held_out = {
        kind: compare(np.array([found.predict(each, kind) for each in networks[fit:]]), times[fit:])
        for kind in KINDS
    }
    return replace(found, held_out=held_out)
