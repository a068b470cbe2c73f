"""LiteRT (TensorFlow Lite's successor) with XNNPACK, on a CPU.

Legend: B batch, H W space.
"""

import importlib.metadata
import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.runtimes.base import Converter, HostNetwork


@dataclass(frozen=True)
class LiteRT(Converter):
    """Converts networks by `litert_torch`, which takes seconds each, and runs them in LiteRT's interpreter."""

    name: ClassVar[str] = "litert"
    packages: ClassVar = ("ai_edge_litert", "litert_torch")
    extra: ClassVar[str] = "litert"
    precisions: ClassVar = {"cpu": ("fp32",)}

    def version(self) -> str:
        return importlib.metadata.version("ai-edge-litert")

    def source(self) -> Mapping[str, Any]:
        """LiteRT's models, by this release of its converter and of torch."""
        versions = [importlib.metadata.version("litert-torch"), torch.__version__]
        return {"format": "litert", "versions": versions}

    def convert(self, net: nn.Module, images: Tensor) -> tuple[bytes, None]:
        """The network as a model; see `flatbuffer`."""
        return flatbuffer(net, images), None

    def load(self, model: bytes, images: Tensor, opened: None = None) -> HostNetwork:
        """The model in an interpreter; see `Converter.load`."""
        del opened
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=model, num_threads=self.threads)
        interpreter.allocate_tensors()
        [given] = interpreter.get_input_details()
        outputs = [each["index"] for each in interpreter.get_output_details()]

        def infer(array: np.ndarray) -> list[np.ndarray]:
            interpreter.set_tensor(given["index"], array)
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in outputs]

        return HostNetwork(infer, images, self.clock, len(model))


def flatbuffer(net: nn.Module, images: Tensor) -> bytes:
    """The model of a network for images of one shape.

    Args:
        net: in eval mode on the CPU.
        images: B 3 H W.

    Raises:
        UserError: LiteRT's converter does not convert it.
    """
    with _quietly():
        import litert_torch

        try:
            with torch.no_grad():
                return bytes(litert_torch.convert(net, (images,)).model_content())
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"This network cannot be converted to LiteRT: {reason}", "runtime=onnxruntime"
            ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the converter's progress and its advice to developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
