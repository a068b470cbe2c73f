"""Which runtime a setting means: by name, and `auto`."""

from dataclasses import dataclass, replace
from typing import TypeAlias

import torch

from evonas.errors import UserError
from evonas.runtimes.base import AUTO, OF_HARDWARE, Runtime, Settings, clock_for, is_installed
from evonas.runtimes.executorch import ExecuTorch
from evonas.runtimes.litert import LiteRT
from evonas.runtimes.onnxruntime import OnnxRuntime
from evonas.runtimes.openvino import OpenVino
from evonas.runtimes.tensorrt import TensorRT
from evonas.runtimes.torch_compile import TorchCompile
from evonas.runtimes.torch_eager import TorchEager

Known: TypeAlias = "type[TorchEager | TorchCompile | OnnxRuntime | OpenVino | ExecuTorch | LiteRT | TensorRT]"
RUNTIMES: dict[str, Known] = {
    each.name: each
    for each in (TorchEager, TorchCompile, OnnxRuntime, OpenVino, ExecuTorch, LiteRT, TensorRT)
}


@dataclass(frozen=True)
class Auto(Settings):
    """ONNX Runtime on a CPU where its packages are installed, because few people ship torch's eager mode; else torch.

    fp16 and bf16 are computed in torch.
    """

    name = AUTO

    def chosen(self, device: torch.device, graphs: bool = False) -> Settings:
        """The runtime for a device.

        Args:
            device: of the networks.
            graphs: whether CUDA graphs are replayed, which only torch does.
        """
        fits = device.type == "cpu" and self.precision in ("fp32", "int8") and not graphs
        known = OnnxRuntime if fits and all(map(is_installed, OnnxRuntime.packages)) else TorchEager
        return known(self.precision, self.threads, self.batch, self.clock, self.conversions, int8=self.int8)


def named(name: str, threads: int = 1) -> Settings:
    """The runtime of a name, or `Auto`.

    Raises:
        UserError: the name is unknown.
    """
    if name != AUTO and name not in RUNTIMES:
        raise UserError(f"runtime={name} is unknown.", f"Choose among {', '.join((AUTO, *RUNTIMES))}.")
    return Auto(threads=threads) if name == AUTO else RUNTIMES[name](threads=threads)


def resolved(
    settings: Settings,
    device: torch.device,
    hardware_precision: str = "32-true",
    clock: str = AUTO,
    graphs: bool = False,
) -> Runtime:
    """The runtime that settings mean on a device, checked.

    Args:
        settings: of the config group `runtime`; `Auto` and the precision `auto` are resolved.
        device: of the networks.
        hardware_precision: the precision that networks are evaluated in, with Lightning's names.
        clock: `auto`, `wall` or `cpu`; see `base.clock_for`.
        graphs: whether a CUDA graph is replayed.

    Raises:
        UserError: the runtime is not installed, or does not support precision, device, clock or CUDA graphs.
    """
    precision = OF_HARDWARE[hardware_precision] if settings.precision == AUTO else settings.precision
    settings = replace(settings, precision=precision)
    found = settings.chosen(device, graphs) if isinstance(settings, Auto) else settings
    if graphs:
        if not isinstance(found, TorchEager) or isinstance(found, TorchCompile):
            raise UserError(
                f"CUDA graphs need runtime=torch on a CUDA device, not {found.name} on {device.type}.",
                "objective.latency.graphs=false",
            )
        found = replace(found, graphs=True)
    found.check(device)
    return replace(found, clock=clock_for(clock, type(found), device, found.threads))  # type: ignore[return-value]
