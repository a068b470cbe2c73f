"""stage=lookup: a table of this machine's latencies, block by block, and how well it predicts networks."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evonas.config import to_plain
from evonas.errors import UserError
from evonas.nn.extract import extract
from evonas.nn.supernet import Supernet
from evonas.objectives import runtimes
from evonas.objectives.bench import Bench
from evonas.objectives.laps import watched
from evonas.objectives.lookup import about
from evonas.objectives.machine import machine
from evonas.objectives.pieces import pieces
from evonas.objectives.pinning import pinned
from evonas.objectives.table import KINDS, LatencyTable, Vector, compare, corrected
from evonas.objectives.timing import Plan, measure
from evonas.randomness import generator
from evonas.space.evonet import architecture
from evonas.space.genotype import Genotype
from evonas.stages import assembly
from evonas.stages.base import Context
from evonas.stages.located import TABLE
from evonas.stages.search import device
from evonas.track.progress import Progress

# two short rounds some time apart, and of each the fastest repeat: what disturbs some of them does not count
ROUNDS = 2
_PIECE = Plan(warmup=2, warmup_seconds=0.01, seconds=0.01, max_seconds=0.03, min_repeats=5, max_repeats=50)
_WHOLE = Plan(warmup=2, warmup_seconds=0.04, seconds=0.03, max_seconds=0.1, min_repeats=5, max_repeats=50)


@dataclass(frozen=True, slots=True)
class _Stand:
    """What everything is timed on: one image, in the device's precision, by one clock."""

    bench: Bench
    supernet: Supernet
    image: Tensor
    clock: str


class Lookup:
    """Times every block of the space once and some whole networks, and writes `lookup/table.json`.

    No weights are needed: they do not change the work.

    Args:
        threads: CPU threads of a forward.
        pin: on Linux, keep a CPU measurement on the idlest cores.
        fit: measured networks that the correction and the predictor are fitted on.
        held_out: measured networks that tell how good both are.
    """

    needs_task = True

    def __init__(self, threads: int = 1, pin: bool = True, fit: int = 30, held_out: int = 30) -> None:
        if min(threads, 1) < 1 or fit < 5 or held_out < 5:
            raise UserError(
                f"A table cannot use threads={threads} fit={fit} held_out={held_out}.",
                "threads must be at least 1, fit and held_out at least 5.",
            )
        self.threads, self.pin, self.fit, self.held_out = threads, pin, fit, held_out

    def run(self, context: Context) -> str:
        """Build the table, and print how well it predicts; its path."""
        began = time.monotonic()
        stand = _stand(context, self.threads)
        is_pinned = self.pin and stand.bench.device.type == "cpu"
        with pinned(self.threads, is_pinned), torch.inference_mode(), runtimes.threads(self.threads):
            table = self._table(context, stand)
        table = replace(table, seconds=time.monotonic() - began)
        path = context.run.path(TABLE)
        table.save(path)
        print(f"{len(table.entries)} blocks on {table.about['machine']['name']}, {table.seconds:.0f} s")
        for kind, held_out in table.held_out.items():
            print(f"  {kind}: {held_out.line}")
        return str(path)

    def _table(self, context: Context, stand: _Stand) -> LatencyTable:
        drawn = _drawn(stand.supernet, self.fit + self.held_out, context.cfg.seed)
        with Progress("lookup", ROUNDS * len(drawn) + ROUNDS, unit="step") as progress:
            blocks, wholes = [], []
            for _ in range(ROUNDS):
                blocks.append(_time_pieces(stand))
                progress.advance()
                wholes.append(_time_wholes(stand, drawn, progress.advance))
        entries = {name: min(each[name] for each in blocks) for name in blocks[0]}
        fixed = entries.pop("")
        facts = {**about(stand.bench), "threads": self.threads, "clock": stand.clock}
        facts["machine"] = machine(stand.bench.device)
        return _fitted(LatencyTable(facts, entries, fixed), stand, drawn, np.min(wholes, axis=0), self.fit)


def _stand(context: Context, threads: int) -> _Stand:
    cfg = context.cfg
    place = device(cfg.hardware.accelerator)
    configs = (to_plain(cfg.space), to_plain(cfg.network), to_plain(cfg.task))
    bench = Bench(*configs, path="", device=place, precision=cfg.hardware.precision)
    supernet = assembly.supernet(cfg).eval().requires_grad_(False).to(bench.device)
    drawn = torch.Generator().manual_seed(0)
    image = torch.randn((1, 3, *bench.input_size), generator=drawn).to(bench.device)
    # with one thread the time it computes is that of a forward on a computer that nobody else uses
    clock = "cpu" if threads == 1 and bench.device.type == "cpu" else "wall"
    return _Stand(bench, supernet, image, clock)


def _drawn(supernet: Supernet, count: int, seed: int) -> list[Genotype]:
    """Distinct random networks."""
    space = supernet.space
    found: dict[Genotype, None] = {}
    number = 0
    while len(found) < count and number < 100 * count:
        found[space.sample(generator(seed, "lookup", number))] = None
        number += 1
    return list(found)


def _time_pieces(stand: _Stand) -> dict[str, float]:
    """Milliseconds by signature; those of the fixed parts are summed under the empty name."""
    found: dict[str, float] = defaultdict(float)
    for piece in pieces(stand.supernet, stand.image):
        once = runtimes.torch_once(piece.run, piece.given, stand.bench.autocast, clock=stand.clock)
        found[piece.signature] += measure(watched(once), _PIECE).fastest
    return dict(found)


def _time_wholes(stand: _Stand, drawn: Sequence[Genotype], advance: Callable[[], Any]) -> Vector:
    found = []
    for genotype in drawn:
        subnet = extract(stand.supernet, genotype).eval().requires_grad_(False)
        once = runtimes.torch_once(subnet, stand.image, stand.bench.autocast, clock=stand.clock)
        found.append(measure(watched(once), _WHOLE).fastest)
        advance()
    return np.array(found)


def _fitted(
    table: LatencyTable, stand: _Stand, drawn: Sequence[Genotype], times: Vector, fit: int
) -> LatencyTable:
    """The table corrected on the first networks and compared with the rest."""
    shapes = [architecture(stand.supernet.space, genotype) for genotype in drawn]
    found = corrected(table, shapes[:fit], times[:fit])
    held_out = {
        kind: compare(np.array([found.predict(each, kind) for each in shapes[fit:]]), times[fit:])
        for kind in KINDS
    }
    return replace(found, held_out=held_out)
