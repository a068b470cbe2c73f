"""Objective `latency`: measured time of one forward pass of a subnet on this machine.

Legend: B batch, H W space.
"""

import logging
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evonas.evaluate.engine import Part
from evonas.objectives.base import fingerprint_of
from evonas.objectives.context import EvaluationContext
from evonas.objectives.latency.benchmark import NOMINAL, Plan, measure_credibly
from evonas.objectives.latency.cpu_affinity import pinned
from evonas.objectives.latency.machine import machine, state
from evonas.objectives.latency.reference_timing import (
    Reference,
    counting_preemptions,
    with_reference,
)
from evonas.randomness import derive
from evonas.runtimes.base import AUTO, OF_HARDWARE, Prepared, Runtime, Settings
from evonas.runtimes.choice import Auto, named, resolved
from evonas.runtimes.conversions import Conversions
from evonas.space.genotype import Genotype

VERSION = 3
# precisions by the names of `hardware.precision`, which identities have
_IN_IDENTITIES = {mine: theirs for theirs, mine in OF_HARDWARE.items()}
log = logging.getLogger(__name__)


class Latency:
    """Median time of repeated forward passes of the extracted subnet in ms, with interval, spread and machine.

    EvoNAS's code takes the mean of 50 forward passes, which is sensitive to interruptions. Here the warm-up lasts
    until times are stable and the measurement until the median is known precisely; preempted forward passes are
    excluded. Each forward pass is followed by one of a reference, the smallest network of the space, and times are
    scaled by the reference's: slowdowns of the machine cancel out.

    A pass is one of `runtime.batch` images, one by default; its time is not divided by their number.

    Args:
        threads: CPU threads of the forward pass; None for those of the runtime.
        warmup: minimum number of warm-up passes.
        warmup_seconds: maximum duration of the warm-up.
        seconds: minimum duration, reference included.
        max_seconds: maximum duration.
        min_repeats: minimum number of timed passes.
        max_repeats: maximum number of timed passes.
        precision: target for half the width of the median's 95 % interval, relative to the median.
        cv_limit: a larger coefficient of variation logs a warning and sets `noisy`.
        pin: on Linux, pin a CPU measurement to the idlest cores.
        runtime: what runs the network, of the config group `runtime`, or its name.
        graphs: on CUDA, replay a CUDA graph.
        clock: `wall`; `cpu` for the CPU time of the computing thread, which needs threads=1 and estimates the time on
            an idle machine; `auto` for `cpu` where possible.
        reference: whether times are scaled by the reference network.
        conversions: folder of converted networks, which later commands use again; None for this process alone.

    Raises:
        UserError: a number is too small, or the runtime is unknown.
    """

    name = "latency"
    unit = "ms"
    part: Part = "exclusive"

    def __init__(
        self,
        threads: int | None = None,
        warmup: int = 3,
        warmup_seconds: float = 1.0,
        seconds: float = 0.1,
        max_seconds: float = 2.0,
        min_repeats: int = 10,
        max_repeats: int = 200,
        precision: float = 0.02,
        cv_limit: float = 0.1,
        pin: bool = True,
        runtime: Settings | str | None = None,
        graphs: bool = False,
        clock: str = AUTO,
        reference: bool = True,
        conversions: str | None = None,
    ) -> None:
        settings = named(runtime) if isinstance(runtime, str) else runtime or Auto()
        settings = settings if threads is None else replace(settings, threads=threads)
        self.settings = replace(settings, conversions=Conversions(Path(conversions) if conversions else None))
        self.plan = Plan(
            warmup=warmup,
            warmup_seconds=warmup_seconds,
            seconds=seconds,
            max_seconds=max_seconds,
            min_repeats=min_repeats,
            max_repeats=max_repeats,
            precision=precision,
        )
        self.cv_limit, self.pin = cv_limit, pin
        self.graphs, self.clock, self.reference = graphs, clock, reference

    @property
    def batch(self) -> int:
        """Images of a pass."""
        return self.settings.batch

    def prepare(self, context: EvaluationContext) -> None:
        """Samples the input images; times nothing, since other evaluations may be running.

        Raises:
            UserError: the runtime is not available, or does not support the settings.
        """
        self._runtime = self.runtime_on(context)
        self._context = context
        self._nominal: Reference | None = None
        generator = torch.Generator().manual_seed(derive(0, "latency"))
        shape = (self._runtime.batch, 3, *context.input_size)
        # B 3 H W
        self._images = torch.randn(shape, generator=generator).to(context.device)

    def runtime_on(self, context: EvaluationContext) -> Runtime:
        """The runtime on the context's device, checked.

        Raises:
            UserError: it is not available, or does not support the settings.
        """
        return resolved(self.settings, context.device, context.precision, self.clock, self.graphs)

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """The median in ms, with interval, percentiles, spread, repeats and machine.

        Raises:
            DisturbedError: other programs left no measurement, also when it was repeated.
        """
        return self._measured(self._prepared(genotype))

    def measure_network(self, net: nn.Module) -> tuple[float, Mapping[str, Any]]:
        """The same for any network in eval mode on the context's device, such as a baseline."""
        return self._measured(self._runtime.prepare(net, self._images, [self._images]))

    def _measured(self, prepared: Prepared) -> tuple[float, Mapping[str, Any]]:
        device, runtime = self._context.device, self._runtime
        is_pinned = self.pin and device.type == "cpu"
        with closing(prepared), pinned(runtime.threads, is_pinned) as cores:
            take = counting_preemptions(prepared.once)
            timing = measure_credibly(
                with_reference(take, *self._reference()) if self.reference else take, self.plan
            )
        facts = {**timing.summary(self.cv_limit), **state(device, runtime.threads, cores)}
        facts |= {
            "clock": runtime.clock,
            "runtime": [runtime.name, runtime.version()],
            "precision": runtime.precision,
            "batch": runtime.batch,
        }
        if self.reference:
            facts["reference_ms"] = self._reference()[1]
        if facts["noisy"]:
            log.warning("latency is noisy: cv %.2f over %d repeats", timing.cv, len(timing.times))
        return timing.median, {"latency": facts, "device": machine(device)}

    def identity(self, context: EvaluationContext) -> Mapping[str, Any]:
        """Machine, runtime and image size; weights do not affect latency."""
        runtime = self.runtime_on(context)
        return {
            **context.kernels,
            "version": VERSION,
            "threads": runtime.threads,
            "pin": self.pin,
            "runtime": [runtime.name, runtime.version()],
            **runtime.identity(),
            # a setting that came later
            **({"batch": runtime.batch} if runtime.batch != 1 else {}),
            "graphs": self.graphs,
            "clock": runtime.clock,
            "reference": context.space.format(context.space.smallest()) if self.reference else None,
            "input_size": list(context.input_size),
            "precision": _IN_IDENTITIES.get(runtime.precision, runtime.precision),
            "device": machine(context.device),
        }

    def _reference(self) -> Reference:
        """The reference network, and its time in ms on an idle machine."""
        if self._nominal is None:
            take = counting_preemptions(self._prepared(self._context.space.smallest()).once)
            self._nominal = take, measure_credibly(take, NOMINAL).fastest
        return self._nominal

    def _prepared(self, genotype: Genotype) -> Prepared:
        """A subnet in the runtime, converted once."""
        context = self._context
        net = context.subnet(genotype)
        structure = {
            "version": VERSION,
            "space": dict(context.space_config),
            "network": dict(context.network_config),
            "head": context.head_config,
            "genotype": context.space.format(genotype),
            # a head has as many outputs as the data have classes
            "tensors": {name: list(each.shape) for name, each in net.state_dict().items()},
        }
        # the range of activations decides the outputs in int8, and not how long they take
        return self._runtime.prepare(net, self._images, [self._images], fingerprint_of(structure))
