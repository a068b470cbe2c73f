"""torch.compile: kernels that torch generates for a network on this machine.

Legend: B batch, H W space.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.runtimes.torch_eager import TorchEager, TorchNetwork

_COMPILERS = ("c++", "g++", "clang++")


@dataclass(frozen=True)
class TorchCompile(TorchEager):
    """Compiles the network by `torch.compile`, which takes half a minute or more for each network."""

    name: ClassVar[str] = "torch_compile"

    def check(self, device: torch.device) -> None:
        """Checks precision, device and the compiler; see `Runtime.check`."""
        super().check(device)
        if device.type == "cpu" and not any(map(shutil.which, _COMPILERS)):
            raise UserError(
                "runtime=torch_compile needs a C++ compiler, and there is none on PATH.",
                "Install g++ or clang++, or runtime=torch",
            )

    def prepare(
        self,
        net: nn.Module,
        images: Tensor,
        calibration: Sequence[Tensor] = (),  # noqa: ARG002
        structure: str = "",  # noqa: ARG002
    ) -> TorchNetwork:
        """Compiles the network for the shape of the images; see `Runtime.prepare`."""
        made = CompiledNetwork(net, images, self.precision, self.threads, self.graphs, self.clock)
        try:
            made.once()
        except Exception as error:
            made.close()
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"torch.compile cannot compile this network: {reason}", "runtime=torch"
            ) from error
        return made


class CompiledNetwork(TorchNetwork):
    """A network that is compiled at its first pass; see `TorchNetwork`."""

    def __init__(
        self,
        net: nn.Module,
        images: Tensor,
        precision: str,
        threads: int,
        graphs: bool = False,
        clock: str = "wall",
    ) -> None:
        super().__init__(_compiled(net), images, precision, threads, graphs, clock)
        self._size = TorchNetwork(net, images, precision, threads).size

    @property
    def size(self) -> int | None:
        """Bytes of parameters and buffers, as a file of weights has them."""
        return self._size


def _compiled(net: nn.Module) -> Callable[[Tensor], object]:
    """The network as a function that is compiled when it is called."""

    def forward(images: Tensor) -> object:
        return net(images)

    # torch keeps what it compiles with the code, and only a few variants of it; so each network has code of its own,
    # which is forgotten with the network and leaves others alone
    forward.__code__ = forward.__code__.replace()
    compiled: Callable[[Tensor], object] = torch.compile(forward, dynamic=False)
    return compiled
