"""torch.compile: kernels that torch generates for a network on this machine.

Legend: B batch, H W space.
"""

import copy
import shutil
from collections.abc import Sequence
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
        # torch keeps what it knows of a module on the module, and forgets it with the copy
        made = CompiledNetwork(
            copy.deepcopy(net), images, self.precision, self.threads, self.graphs, self.clock
        )
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
    """A compiled network; what the compiler keeps of it is dropped when it is closed."""

    def __init__(
        self,
        net: nn.Module,
        images: Tensor,
        precision: str,
        threads: int,
        graphs: bool = False,
        clock: str = "wall",
    ) -> None:
        # each network has one shape, and a limit of recompilations counts per code, which networks share
        super().__init__(torch.compile(net, dynamic=False), images, precision, threads, graphs, clock)
        self._original: nn.Module | None = net

    @property
    def size(self) -> int | None:
        """Bytes of parameters and buffers, as a file of weights has them."""
        if self._original is None:
            return None
        return sum(each.numel() * each.element_size() for each in self._original.state_dict().values())

    def close(self) -> None:
        super().close()
        if self._original is not None:
            self._original = None
            # the next network would otherwise be one more variant of the same code, up to torch's limit
            torch.compiler.reset()
