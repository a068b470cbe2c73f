"""How long one forward of a subnet takes on this machine, with nothing else of ours running."""

import copy
import logging
from collections.abc import Mapping
from typing import Any

import torch

from evonas.errors import UserError
from evonas.evaluate.engine import Part
from evonas.objectives.context import EvaluationContext
from evonas.objectives.latency import runtimes
from evonas.objectives.latency.benchmark import NOMINAL, Plan, measure
from evonas.objectives.latency.cpu_affinity import pinned
from evonas.objectives.latency.machine import machine, state
from evonas.objectives.latency.reference_timing import (
    Reference,
    RunOnce,
    TimedRunner,
    counting_preemptions,
    with_reference,
)
from evonas.randomness import derive
from evonas.space.genotype import Genotype

VERSION = 3
log = logging.getLogger(__name__)


class Latency:
    """Median of repeated forwards of the extracted subnet, in ms, with an interval, spread and machine.

    The original took the mean of 50 forwards, which one interruption can spoil. Here the warm-up lasts until
    times are stable and repeats until the median is known. Forwards that another program interrupted are left
    out. Each forward is followed by one of a reference, the smallest network of the space: both meet the
    machine at the same pace, so a machine that slows down for a while does not look like a slow network.

    Args:
        threads: CPU threads of the forward, whatever the process uses otherwise.
        warmup: forwards before timing begins, at least.
        warmup_seconds: how long to wait for stable times, at most.
        seconds: how long to repeat, at least, references included.
        max_seconds: how long to repeat, at most.
        min_repeats: timed forwards, at least.
        max_repeats: timed forwards, at most.
        precision: repeat until half the median's 95 % interval is at most this part of the median.
        cv_limit: a larger coefficient of variation is warned of, and kept as `noisy`.
        pin: on Linux, keep a CPU measurement on the idlest cores.
        runtime: torch, onnxruntime or tensorrt.
        graphs: on CUDA, replay a recorded forward.
        clock: wall; cpu, with one CPU thread, for the time that it was computing, which is what the forward
            would take on a computer that nobody else uses; or auto for cpu where it is possible.
        reference: tell times in terms of the reference network; else the machine's pace is part of them.
    """

    name = "latency"
    unit = "ms"
    part: Part = "exclusive"

    def __init__(
        self,
        threads: int = 1,
        warmup: int = 3,
        warmup_seconds: float = 1.0,
        seconds: float = 0.1,
        max_seconds: float = 2.0,
        min_repeats: int = 10,
        max_repeats: int = 200,
        precision: float = 0.02,
        cv_limit: float = 0.1,
        pin: bool = True,
        runtime: str = "torch",
        graphs: bool = False,
        clock: str = "auto",
        reference: bool = True,
    ) -> None:
        if threads < 1:
            raise UserError(f"latency cannot use threads={threads}.", "objective.latency.threads=1")
        self.plan = Plan(
            warmup=warmup,
            warmup_seconds=warmup_seconds,
            seconds=seconds,
            max_seconds=max_seconds,
            min_repeats=min_repeats,
            max_repeats=max_repeats,
            precision=precision,
        )
        self.threads, self.cv_limit, self.pin = threads, cv_limit, pin
        self.runtime, self.graphs, self.clock, self.reference = runtime, graphs, clock, reference

    def prepare(self, context: EvaluationContext) -> None:
        """Draw the image that every subnet is timed on; nothing is timed yet, others may be computing.

        Raises:
            UserError: the runtime does not work here.
        """
        runtimes.check(self.runtime, context.precision, context.device, self.graphs)
        self._clock(context)
        self._context = context
        self._nominal: Reference | None = None
        generator = torch.Generator().manual_seed(derive(0, "latency"))
        self._image = torch.randn((1, 3, *context.input_size), generator=generator).to(context.device)

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """The median in ms; interval, percentiles, spread, repeats and the machine beside it."""
        device = self._context.device
        is_pinned = self.pin and device.type == "cpu"
        with pinned(self.threads, is_pinned) as cores, torch.inference_mode(), runtimes.threads(self.threads):
            timing = measure(self._take(genotype), self.plan)
        facts = {**timing.summary(self.cv_limit), **state(device, self.threads, cores)}
        facts["clock"] = self._clock(self._context)
        if self.reference:
            facts["reference_ms"] = self._reference()[1]
        if facts["noisy"]:
            log.warning("latency is noisy: cv %.2f over %d repeats", timing.cv, len(timing.times))
        return timing.median, {"latency": facts, "device": machine(device)}

    def identity(self, context: EvaluationContext) -> Mapping[str, Any]:
        """The machine, the runtime and the image; not the weights, which do not change the work."""
        return {
            **context.kernels,
            "version": VERSION,
            "threads": self.threads,
            "pin": self.pin,
            "runtime": [self.runtime, runtimes.version(self.runtime)],
            "graphs": self.graphs,
            "clock": self._clock(context),
            "reference": context.space.format(context.space.smallest()) if self.reference else None,
            "input_size": list(context.input_size),
            "precision": context.precision,
            "device": machine(context.device),
        }

    def _clock(self, context: EvaluationContext) -> str:
        return runtimes.clock_for(self.clock, self.runtime, context.device, self.threads)

    def _take(self, genotype: Genotype) -> TimedRunner:
        take = counting_preemptions(self._once(genotype))
        return with_reference(take, *self._reference()) if self.reference else take

    def _reference(self) -> Reference:
        """The reference network, and its time in ms where nothing disturbs it."""
        if self._nominal is None:
            take = counting_preemptions(self._once(self._context.space.smallest()))
            self._nominal = take, measure(take, NOMINAL).fastest
        return self._nominal

    def _once(self, genotype: Genotype) -> RunOnce:
        subnet, clock = self._context.subnet(genotype), self._clock(self._context)
        if self.runtime == "torch":
            return runtimes.torch_once(subnet, self._image, self._context.autocast, self.graphs, clock)
        # the context keeps its subnet on the device, where other objectives look for it
        copied = copy.deepcopy(subnet).cpu()
        return runtimes.onnx_once(self.runtime, copied, self._image, self.threads, clock)
