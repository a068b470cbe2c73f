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
    TimedRun,
    TimedRunner,
    counting_preemptions,
    with_reference,
)
from evonas.randomness import derive
from evonas.runtimes.base import AUTO, OF_HARDWARE, Prepared, Runtime, Settings
from evonas.runtimes.choice import Auto, named, resolved
from evonas.runtimes.conversions import Conversions
from evonas.runtimes.quantisation import check_kept
from evonas.runtimes.remote import Remote, RemoteNetwork
from evonas.space.genotype import Genotype

VERSION = 3
# the name of the only one, whose machine the archive has beside it
LATENCY = "latency"
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
        name: of the objective; latencies on several devices need distinct ones.

    Raises:
        UserError: a number is too small, or the runtime is unknown.
    """

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
        name: str = LATENCY,
    ) -> None:
        self.name = name
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
            UserError: the runtime is not available, or does not support the settings; no network has a layer that is
                to be kept in float.
        """
        self._runtime = self.runtime_on(context)
        if self._runtime.precision == "int8" and self.settings.int8.keep_float:
            check_kept(self.settings.int8.keep_float, context.layer_names)
        self._context = context
        # the reference network, and its time in ms on an idle machine
        self._beside: Prepared | None = None
        self._nominal = 0.0
        generator = torch.Generator().manual_seed(derive(0, "latency"))
        shape = (self._runtime.batch, 3, *context.input_size)
        # B 3 H W
        self._images = torch.randn(shape, generator=generator).to(context.device)

    def runtime_on(self, context: EvaluationContext) -> Runtime:
        """The runtime on the context's device, checked.

        Raises:
            UserError: it is not available, or does not support the settings.
        """
        return self.check(context.device, context.precision)

    def check(self, device: torch.device, precision: str) -> Runtime:
        """The runtime on a device, checked.

        Args:
            device: of the networks.
            precision: that they are evaluated in, as in `hardware.precision`.

        Raises:
            UserError: it is not available, or does not support the settings.
        """
        return resolved(self.settings, device, precision, self.clock, self.graphs)

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """The median in ms, with interval, percentiles, spread, repeats and machine.

        Raises:
            DisturbedError: other programs left no measurement, also when it was repeated.
        """
        return self._measured(self.prepared(genotype))

    def measure_network(self, net: nn.Module) -> tuple[float, Mapping[str, Any]]:
        """The same for any network in eval mode on the context's device, such as a baseline."""
        return self._measured(self.prepared_network(net))

    def _measured(self, prepared: Prepared) -> tuple[float, Mapping[str, Any]]:
        device, runtime = self._context.device, self._runtime
        is_here = not isinstance(runtime, Remote)
        is_pinned = self.pin and device.type == "cpu" and is_here
        with closing(prepared), pinned(runtime.threads, is_pinned) as cores:
            timing = measure_credibly(self._runner(prepared), self.plan)
        facts = timing.summary(self.cv_limit)
        facts |= state(device, runtime.threads, cores) if is_here else {"threads": runtime.threads}
        facts |= {
            "clock": getattr(prepared, "clock", runtime.clock),
            "runtime": runtime.label() if isinstance(runtime, Remote) else [runtime.name, runtime.version()],
            "precision": runtime.precision,
            "batch": runtime.batch,
        }
        if self.reference:
            facts["reference_ms"] = self._nominal
        if facts["noisy"]:
            log.warning("latency is noisy: cv %.2f over %d repeats", timing.cv, len(timing.times))
        about = self._machine(runtime, device)
        if self.name == LATENCY:
            return timing.median, {self.name: facts, "device": about}
        return timing.median, {self.name: {**facts, "device": about}}

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
            "device": self._machine(runtime, context.device),
        }

    def _machine(self, runtime: Runtime, device: torch.device) -> dict[str, str]:
        """What times depend on besides the network and the settings: of this machine, or of a device elsewhere."""
        return {"type": "elsewhere", **runtime.machine()} if isinstance(runtime, Remote) else machine(device)

    def _runner(self, prepared: Prepared) -> TimedRunner:
        """Times a network, in terms of the reference network where that is wanted."""
        if not self.reference:
            return self._alone(prepared)
        if self._beside is None:
            beside = self.prepared(self._context.space.smallest())
            self._nominal = measure_credibly(self._alone(beside), NOMINAL).fastest
            self._beside = beside
        beside, nominal = self._beside, self._nominal
        if not isinstance(prepared, RemoteNetwork):
            return with_reference(self._alone(prepared), self._alone(beside), nominal)
        assert isinstance(beside, RemoteNetwork)
        passes = prepared.passes(beside, **self._at_a_time)

        def scaled() -> TimedRun:
            ms, reference_ms, is_disturbed = passes()
            return TimedRun(nominal * ms / reference_ms, ms + reference_ms, is_disturbed)

        return scaled

    def _alone(self, prepared: Prepared) -> TimedRunner:
        if not isinstance(prepared, RemoteNetwork):
            return counting_preemptions(prepared.once)
        passes = prepared.passes(None, **self._at_a_time)

        def take() -> TimedRun:
            ms, _, is_disturbed = passes()
            return TimedRun(ms, ms, is_disturbed)

        return take

    @property
    def _at_a_time(self) -> dict[str, Any]:
        """How many passes a device elsewhere makes for each request, so that one is enough as a rule."""
        plan = self.plan
        return {
            "least": plan.warmup + plan.min_repeats,
            "most": plan.warmup + plan.max_repeats,
            "seconds": plan.warmup_seconds + plan.max_seconds,
        }

    def prepared_network(self, net: nn.Module) -> Prepared:
        """A network of any structure in the runtime."""
        return self._runtime.prepare(net, self._images, [self._images])

    def prepared(self, genotype: Genotype) -> Prepared:
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
