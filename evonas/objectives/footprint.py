"""Objectives `peak_memory` and `energy`: what one pass of a network costs a device besides time.

Both have the network run in ONNX Runtime in a process of its own, here or on a device elsewhere (`runtime.device`).
"""

import statistics
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import nn

from evonas.errors import EngineError, UserError
from evonas.evaluate.engine import Part
from evonas.objectives.context import EvaluationContext
from evonas.objectives.latency.measured import Latency
from evonas.runtimes.base import Settings
from evonas.runtimes.choice import Auto
from evonas.runtimes.device import HERE
from evonas.runtimes.onnxruntime import OnnxRuntime
from evonas.runtimes.remote import Remote, RemoteNetwork
from evonas.space.genotype import Genotype

VERSION = 1


class _Footprint:
    """A number that a device tells of the process that runs a network.

    Args:
        runtime: of the config group `runtime`.
        conversions: as of `Latency`.
    """

    name = ""
    unit = ""
    # as latencies, its values do not repeat to the last digit
    part: Part = "exclusive"
    # of `Device.tells`, and what it takes to be told
    needs, remedy = "", ""

    def __init__(self, runtime: Settings | None = None, conversions: str | None = None) -> None:
        self._latency = Latency(
            runtime=in_own_process(runtime or Auto(), self.name), reference=False, conversions=conversions
        )

    def prepare(self, context: EvaluationContext) -> None:
        """Samples the input images.

        Raises:
            UserError: the device does not tell the number.
        """
        self._latency.prepare(context)

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """The number, and what else the device told."""
        return self._measured(self._latency.prepared(genotype))

    def measure_network(self, net: nn.Module) -> tuple[float, Mapping[str, Any]]:
        """The same for any network in eval mode on the context's device, such as a baseline."""
        return self._measured(self._latency.prepared_network(net))

    def identity(self, context: EvaluationContext) -> Mapping[str, Any]:
        """Device, runtime and image size.

        Raises:
            UserError: the device does not tell the number.
        """
        device = self._remote.elsewhere
        if self.needs not in device.tells:
            raise UserError(f"The device {device} does not tell {self.name}: {self.remedy}", "Leave it out.")
        latency = self._latency.identity(context)
        return {
            **{key: each for key, each in latency.items() if key not in ("pin", "reference")},
            "version": VERSION,
        }

    @property
    def _remote(self) -> Remote:
        assert isinstance(self._latency.settings, Remote)
        return self._latency.settings

    def _measured(self, prepared: Any) -> tuple[float, Mapping[str, Any]]:
        assert isinstance(prepared, RemoteNetwork)
        value, facts = self._value(prepared)
        runtime = self._remote
        facts = {**facts, "threads": runtime.threads, "runtime": runtime.label()}
        return value, {self.name: {**facts, "device": runtime.machine()}}

    def _value(self, prepared: RemoteNetwork) -> tuple[float, dict[str, Any]]:
        raise NotImplementedError


class PeakMemory(_Footprint):
    """Peak of a process's resident memory while a network runs, in MB, above that of the process without a network.

    It has weights, activations and what ONNX Runtime itself needs for them. Memory that the kernel has given to a
    process is counted (VmHWM of Linux), so the number is that of the device, and not of its model.

    Args:
        runtime: of the config group `runtime`.
        loading: whether the memory that loading the model takes for a moment counts as well.
        passes: number of processes, of which the median counts.
        conversions: folder of converted networks.
    """

    name = "peak_memory"
    unit = "MB"
    needs = "memory"
    remedy = "only Linux does, by /proc, and only for ONNX Runtime."

    def __init__(
        self,
        runtime: Settings | None = None,
        loading: bool = False,
        passes: int = 1,
        conversions: str | None = None,
    ) -> None:
        super().__init__(runtime, conversions)
        if passes < 1:
            raise UserError(
                f"objective.peak_memory.passes must be at least 1, got {passes}.",
                "objective.peak_memory.passes=1",
            )
        self._loading, self._passes = loading, passes

    def identity(self, context: EvaluationContext) -> Mapping[str, Any]:
        return {**super().identity(context), "loading": self._loading, "passes": self._passes}

    def _value(self, prepared: RemoteNetwork) -> tuple[float, dict[str, Any]]:
        key = "load_bytes" if self._loading else "run_bytes"
        told = [prepared.measured(None, 2, 2, 0.1).extra for _ in range(self._passes)]
        if not all({"idle_bytes", key} <= each.keys() for each in told):
            raise EngineError(f"The device {self._remote.elsewhere} told no memory.", "Is it still the same?")
        found = [max(each[key], each["run_bytes"]) - each["idle_bytes"] for each in told]
        return statistics.median(found) / 1e6, {name: told[-1][name] for name in sorted(told[-1])}


class Energy(_Footprint):
    """Energy of one pass in mJ: that of the processor's packages while the passes run, idle power included.

    Args:
        runtime: of the config group `runtime`.
        seconds: duration of the passes; the counters move about a thousand times in a second.
        conversions: folder of converted networks.
    """

    name = "energy"
    unit = "mJ"
    needs = "energy"
    remedy = (
        "the counters of its processor, /sys/class/powercap/intel-rapl:*/energy_uj, are missing, or this user may not "
        "read them."
    )

    def __init__(
        self, runtime: Settings | None = None, seconds: float = 1.0, conversions: str | None = None
    ) -> None:
        super().__init__(runtime, conversions)
        if not 0.1 <= seconds <= 60:
            raise UserError(
                f"objective.energy.seconds must be in [0.1, 60], got {seconds}.", "objective.energy.seconds=1"
            )
        self._seconds = seconds

    def _value(self, prepared: RemoteNetwork) -> tuple[float, dict[str, Any]]:
        passes = prepared.measured(None, 10, 10_000, self._seconds)
        if "energy_mj" not in passes.extra:
            raise EngineError(f"The device {self._remote.elsewhere} told no energy.", "Is it still the same?")
        return passes.extra["energy_mj"], {"passes": len(passes.ms), "seconds": self._seconds}


def in_own_process(runtime: Settings, name: str) -> Remote:
    """The runtime as one whose networks run in processes of their own.

    Raises:
        UserError: it is another one than ONNX Runtime.
    """
    if isinstance(runtime, Remote):
        return runtime
    if type(runtime) not in (Auto, OnnxRuntime):
        raise UserError(
            f"{name} is measured in ONNX Runtime, not in runtime={runtime.name}.", "runtime=onnxruntime"
        )
    common = {each.name: getattr(runtime, each.name) for each in fields(Settings)}
    return Remote(**common, device=HERE)
