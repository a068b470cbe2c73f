"""OpenVINO on a CPU.

Legend: B batch, H W space.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.runtimes.base import Converter, HostNetwork
from evonas.runtimes.onnx_model import PACKAGES, onnx_model
from evonas.runtimes.resizing import without_antialiasing

# OpenVINO's names; on a CPU without such instructions it computes in another type, which is refused
_HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}


@dataclass(frozen=True)
class OpenVino(Converter):
    """Runs ONNX models in OpenVINO, one request at a time; times include copies of the output."""

    name: ClassVar[str] = "openvino"
    packages: ClassVar = ("openvino", *PACKAGES)
    extra: ClassVar[str] = "openvino"
    precisions: ClassVar = {"cpu": ("fp32", "fp16", "bf16")}

    def version(self) -> str:
        import openvino

        # the build number behind the release is of no use to anybody
        return str(openvino.__version__).partition("-")[0]

    def source(self) -> Mapping[str, Any]:
        """ONNX, converted by this release of torch."""
        return {"format": "onnx without antialiasing", "torch": torch.__version__}

    def convert(self, net: nn.Module, images: Tensor) -> tuple[bytes, None]:
        """An ONNX model, see `onnx_model.converted`, in which nothing is antialiased: OpenVINO passes that over."""
        return without_antialiasing(onnx_model(net, images)), None

    def load(self, model: bytes, images: Tensor, opened: None = None) -> HostNetwork:
        """The model, compiled for the CPU; see `Converter.load`.

        Raises:
            UserError: the processor computes in another precision.
        """
        del opened
        import openvino

        core = openvino.Core()
        read = core.read_model(model)
        hint = _HINTS.get(self.precision)
        settings = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            # evonas chooses the cores
            "ENABLE_CPU_PINNING": False,
            **({"INFERENCE_PRECISION_HINT": hint} if hint else {}),
        }
        compiled = core.compile_model(read, "CPU", settings)
        found = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if hint and found != hint:
            raise UserError(
                f"OpenVINO computes in {found} on this processor, not in {self.precision}.",
                "runtime.precision=fp32",
            )
        request = compiled.create_infer_request()

        def infer(array: np.ndarray) -> list[np.ndarray]:
            return list(request.infer({0: array}, share_inputs=True).to_tuple())

        return HostNetwork(infer, images, self.clock, lambda: _size(read, self.precision))


def _size(model: Any, precision: str) -> int:
    """Bytes of the two files of a model, with weights in half precision unless it runs in fp32."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(model, path, compress_to_fp16=precision in ("fp16", "bf16"))
        return sum(each.stat().st_size for each in path.parent.iterdir())
