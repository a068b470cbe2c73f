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
from evonas.runtimes.resizing import resizing_matrix


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
                return bytes(
                    litert_torch.convert(_without_antialiasing(net, images), (images,)).model_content()
                )
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"This network cannot be converted to LiteRT: {reason}", "runtime=onnxruntime"
            ) from error


def _without_antialiasing(net: nn.Module, images: Tensor) -> nn.Module:
    """The network with products of matrices in place of antialiased resizing, which the converter does not know.

    Resizing is linear and the same for all columns and for all rows, so that it is a matrix from each side.
    """
    program = torch.export.export(net, (images,))
    if not any(_antialiased_mode(node) for node in program.graph.nodes):
        return net
    module = program.module()
    assert isinstance(module, torch.fx.GraphModule)
    for number, node in enumerate(list(module.graph.nodes)):
        if not (mode := _antialiased_mode(node)):
            continue
        given = node.args[0]
        sides = zip(given.meta["val"].shape[-2:], node.meta["val"].shape[-2:], strict=True)
        rows, columns = (resizing_matrix(before, after, mode) for before, after in sides)
        with module.graph.inserting_before(node):
            matrices = []
            for name, matrix in (("rows", rows), ("columns", columns.T.contiguous())):
                module.register_buffer(f"resize_{number}_{name}", matrix)
                matrices.append(module.graph.get_attr(f"resize_{number}_{name}"))
            found = module.graph.call_function(torch.matmul, (matrices[0], given))
            found = module.graph.call_function(torch.matmul, (found, matrices[1]))
        node.replace_all_uses_with(found)
        module.graph.erase_node(node)
    module.recompile()
    return module


def _antialiased_mode(node: torch.fx.Node) -> str:
    """The mode of an antialiased resizing without aligned corners, or the empty string."""
    name = str(node.target)
    modes = (mode for mode in ("bilinear", "bicubic") if name.startswith(f"aten._upsample_{mode}2d_aa"))
    return "" if node.op != "call_function" or node.args[2:3] == (True,) else next(modes, "")


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
