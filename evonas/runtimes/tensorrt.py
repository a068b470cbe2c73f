"""TensorRT, through ONNX Runtime's execution provider."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from evonas.runtimes.onnxruntime import OnnxRuntime


@dataclass(frozen=True)
class TensorRT(OnnxRuntime):
    """Runs ONNX models in TensorRT on an NVIDIA GPU; untested, since no machine with TensorRT was available."""

    name: ClassVar[str] = "tensorrt"
    providers: ClassVar[Mapping[str, str]] = dict.fromkeys(("cpu", "cuda"), "TensorrtExecutionProvider")
