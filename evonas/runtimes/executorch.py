"""ExecuTorch with XNNPACK, on a CPU: what runs in apps on phones.

Legend: B batch, H W space.
"""

import importlib.metadata
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.runtimes.base import Converter, HostNetwork


@dataclass(frozen=True)
class ExecuTorch(Converter):
    """Lowers networks to XNNPACK, which takes some ten seconds each; what it lacks runs in portable kernels."""

    name: ClassVar[str] = "executorch"
    packages: ClassVar = ("executorch",)
    extra: ClassVar[str] = "executorch"
    precisions: ClassVar = {"cpu": ("fp32",)}

    def version(self) -> str:
        return importlib.metadata.version("executorch")

    def source(self) -> Mapping[str, Any]:
        """ExecuTorch's programs, by this release of it and of torch."""
        return {"format": "executorch", "versions": [self.version(), torch.__version__]}

    def convert(self, net: nn.Module, images: Tensor) -> tuple[bytes, None]:
        """The network's program; see `lowered`."""
        return lowered(net, images), None

    def load(self, model: bytes, images: Tensor, opened: None = None) -> HostNetwork:
        """The program, loaded; see `Converter.load`."""
        del opened
        from executorch.extension.pybindings import portable_lib

        # one pool serves all programs of the process
        if portable_lib._threadpool_get_thread_count() != self.threads:
            portable_lib._unsafe_reset_threadpool(self.threads)
        # the module reads from the buffer as long as it lives, and does not hold it
        held = model, portable_lib._load_for_executorch_from_buffer(model)

        def infer(array: np.ndarray) -> list[np.ndarray]:
            found = held[1].forward([torch.from_numpy(array)])
            return [each.numpy() for each in found if isinstance(each, Tensor)]

        return HostNetwork(infer, images, self.clock, len(model))


def lowered(net: nn.Module, images: Tensor) -> bytes:
    """The program of a network for images of one shape.

    Args:
        net: in eval mode on the CPU.
        images: B 3 H W.

    Raises:
        UserError: ExecuTorch cannot convert it.
    """
    with _quietly():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        try:
            with torch.no_grad():
                program = torch.export.export(net, (images,))
                edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
                return bytes(edge.to_executorch().buffer)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"This network cannot be converted to ExecuTorch: {reason}", "runtime=onnxruntime"
            ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the advice to developers that imports and conversions log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
