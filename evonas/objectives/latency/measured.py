"""Objective `latency`: measured time of one forward pass of a subnet on this machine."""

import copy
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from evonas.errors import UserError
from evonas.evaluate.engine import Part
from evonas.objectives.context import EvaluationContext
from evonas.objectives.latency import runtimes
from evonas.objectives.latency.benchmark import NOMINAL, Plan, measure_credibly
from evonas.objectives.latency.cpu_affinity import pinned
from evonas.objectives.latency.machine import machine, state
from evonas.objectives.latency.reference_timing import (
    Reference,
    RunOnce,
    counting_preemptions,
    with_reference,
)
from evonas.randomness import derive
from evonas.space.genotype import Genotype

VERSION = 3
log = logging.getLogger(__name__)


class Latency:
    """Median time of repeated forward passes of the extracted subnet in ms, with interval, spread and machine.

    EvoNAS's code takes the mean of 50 forward passes, which is sensitive to interruptions. Here the warm-up lasts
    until times are stable and the measurement until the median is known precisely; preempted forward passes are
    excluded. Each forward pass is followed by one of a reference, the smallest network of the space, and times are
    scaled by the reference's: slowdowns of the machine cancel out.

    Args:
        threads: CPU threads of the forward pass.
        warmup: minimum number of warm-up passes.
        warmup_seconds: maximum duration of the warm-up.
        seconds: minimum duration, reference included.
        max_seconds: maximum duration.
        min_repeats: minimum number of timed passes.
        max_repeats: maximum number of timed passes.
        precision: target for half the width of the median's 95 % interval, relative to the median.
        cv_limit: a larger coefficient of variation logs a warning and sets `noisy`.
        pin: on Linux, pin a CPU measurement to the idlest cores.
        runtime: torch, onnxruntime or tensorrt; `auto` for onnxruntime on a CPU where its packages are installed, else
            torch.
        graphs: on CUDA, replay a CUDA graph.
        clock: `wall`; `cpu` for the CPU time of the computing thread, which needs threads=1 and estimates the time on
            an idle machine; `auto` for `cpu` where possible.
        reference: whether times are scaled by the reference network.

    Raises:
        UserError: a number is too small.
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
        runtime: str = runtimes.AUTO,
        graphs: bool = False,
        clock: str = "auto",
        reference: bool = True,
    ) -> None:
        if threads < 1:
            raise UserError(
                f"objective.latency.threads must be at least 1, got {threads}.", "objective.latency.threads=1"
            )
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
        """Samples the input image; times nothing, since other evaluations may be running.

        Raises:
            UserError: the runtime is unknown or not available.
        """
        runtimes.check(self.runtime, context.precision, context.device, self.graphs)
        self._clock(context)
        self._context = context
        self._nominal: Reference | None = None
        generator = torch.Generator().manual_seed(derive(0, "latency"))
        self._image = torch.randn((1, 3, *context.input_size), generator=generator).to(context.device)

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """The median in ms, with interval, percentiles, spread, repeats and machine.

        Raises:
            DisturbedError: other programs left no measurement, also when it was repeated.
        """
        return self.measure_network(self._context.subnet(genotype))

    def measure_network(self, net: nn.Module) -> tuple[float, Mapping[str, Any]]:
        """The same for any network in eval mode on the context's device, such as a baseline."""
        device = self._context.device
        is_pinned = self.pin and device.type == "cpu"
        with pinned(self.threads, is_pinned) as cores, torch.inference_mode(), runtimes.threads(self.threads):
            take = counting_preemptions(self._once(net))
            timing = measure_credibly(
                with_reference(take, *self._reference()) if self.reference else take, self.plan
            )
        facts = {**timing.summary(self.cv_limit), **state(device, self.threads, cores)}
        facts["clock"] = self._clock(self._context)
        facts["runtime"] = [(runtime := self._runtime(self._context)), runtimes.version(runtime)]
        if self.reference:
            facts["reference_ms"] = self._reference()[1]
        if facts["noisy"]:
            log.warning("latency is noisy: cv %.2f over %d repeats", timing.cv, len(timing.times))
        return timing.median, {"latency": facts, "device": machine(device)}

    def identity(self, context: EvaluationContext) -> Mapping[str, Any]:
        """Machine, runtime and image size; weights do not affect latency."""
        return {
            **context.kernels,
            "version": VERSION,
            "threads": self.threads,
            "pin": self.pin,
            "runtime": [(runtime := self._runtime(context)), runtimes.version(runtime)],
            # networks were converted by another exporter before
            **({} if runtime == "torch" else {"exporter": "trace"}),
            "graphs": self.graphs,
            "clock": self._clock(context),
            "reference": context.space.format(context.space.smallest()) if self.reference else None,
            "input_size": list(context.input_size),
            "precision": context.precision,
            "device": machine(context.device),
        }

    def _runtime(self, context: EvaluationContext) -> str:
        return runtimes.choose(self.runtime, context.precision, context.device, self.graphs)

    def _clock(self, context: EvaluationContext) -> str:
        return runtimes.clock_for(self.clock, self._runtime(context), context.device, self.threads)

    def _reference(self) -> Reference:
        """The reference network, and its time in ms on an idle machine."""
        if self._nominal is None:
            take = counting_preemptions(self._once(self._context.subnet(self._context.space.smallest())))
            self._nominal = take, measure_credibly(take, NOMINAL).fastest
        return self._nominal

    def _once(self, net: nn.Module) -> RunOnce:
        clock = self._clock(self._context)
        runtime = self._runtime(self._context)
        if runtime == "torch":
            return runtimes.torch_once(net, self._image, self._context.autocast, self.graphs, clock)
        # the context caches its subnet on the device for other objectives
        copied = copy.deepcopy(net).cpu()
        return runtimes.onnx_once(runtime, copied, self._image, self.threads, clock)
