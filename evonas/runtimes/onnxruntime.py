"""ONNX Runtime, on a CPU or a CUDA device.

Legend: B batch, H W space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.runtimes.base import Converter, HostNetwork
from evonas.runtimes.onnx_model import PACKAGES, Session, converted, open_session
from evonas.runtimes.quantisation import arrays, quantised

_CPU = "CPUExecutionProvider"


@dataclass(frozen=True)
class OnnxRuntime(Converter):
    """Converts networks to ONNX and runs them in ONNX Runtime; times include copies of input and output."""

    name: ClassVar[str] = "onnxruntime"
    packages: ClassVar = PACKAGES
    extra: ClassVar[str] = "export"
    precisions: ClassVar = {"cpu": ("fp32", "int8"), "cuda": ("fp32",)}
    # execution provider of each type of device
    providers: ClassVar[Mapping[str, str]] = {"cpu": _CPU, "cuda": "CUDAExecutionProvider"}

    def check(self, device: torch.device) -> None:
        """Checks packages, precision and the device's execution provider; see `Runtime.check`."""
        super().check(device)
        import onnxruntime

        wanted, available = self.providers[device.type], onnxruntime.get_available_providers()
        if wanted not in available:
            raise UserError(
                f"runtime={self.name} on {device.type} needs {wanted}; ONNX Runtime here has {', '.join(available)}.",
                "pip install onnxruntime-gpu and TensorRT, or runtime=torch",
            )

    def version(self) -> str:
        import onnxruntime

        return str(onnxruntime.__version__)

    def identity(self) -> Mapping[str, Any]:
        """The exporter, because earlier releases converted networks by another one; see `Runtime.identity`."""
        return {"exporter": "trace", **super().identity()}

    def source(self) -> Mapping[str, Any]:
        """ONNX, converted by this release of torch."""
        return {"format": "onnx", "torch": torch.__version__}

    def convert(self, net: nn.Module, images: Tensor) -> tuple[bytes, Session | None]:
        """An ONNX model, and its session on the CPU; see `onnx_model.converted`."""
        return converted(net, images, partial(open_session, threads=self.threads))

    def quantised(self, net: nn.Module, images: Tensor, calibration: Sequence[Tensor]) -> tuple[bytes, None]:
        """An ONNX model that ONNX Runtime's own tool has quantised; see `quantisation.quantised`."""
        model, _ = self.convert(net, images)
        return quantised(model, arrays(calibration, images.shape, self.int8.images), self.int8), None

    def load(self, model: bytes, images: Tensor, opened: Session | None = None) -> HostNetwork:
        """A session on the device of the images; see `Converter.load`."""
        provider = self.providers[images.device.type]
        session = opened if opened is not None and provider == _CPU else None
        if session is None:
            session = open_session(model, self.threads, provider)
        name = session.get_inputs()[0].name
        return HostNetwork(lambda array: session.run(None, {name: array}), images, self.clock, len(model))
