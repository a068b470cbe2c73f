"""torch's eager mode: what networks are trained and evaluated with.

Legend: B batch, H W space.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from evonas.errors import UserError
from evonas.runtimes.base import Settings, now, torch_threads

RunOnce = Callable[[], float]
_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
ALL = ("fp32", "fp16", "bf16")


@dataclass(frozen=True)
class TorchEager(Settings):
    """Runs the network as it is; fp16 and bf16 are those of autocast.

    Args:
        graphs: on CUDA, whether a CUDA graph is recorded and replayed, which removes launch overhead.
    """

    graphs: bool = False

    name: ClassVar[str] = "torch"
    precisions: ClassVar = {"cpu": ALL, "cuda": ALL, "mps": ALL}

    def check(self, device: torch.device) -> None:
        """Checks precision, device and CUDA graphs; see `Runtime.check`."""
        super().check(device)
        if self.graphs and device.type != "cuda":
            raise UserError(
                f"CUDA graphs need runtime=torch on a CUDA device, not {self.name} on {device.type}.",
                "objective.latency.graphs=false",
            )

    def version(self) -> str:
        return torch.__version__

    def prepare(
        self,
        net: nn.Module,
        images: Tensor,
        calibration: Sequence[Tensor] = (),  # noqa: ARG002
        structure: str = "",  # noqa: ARG002
    ) -> "TorchNetwork":
        """Needs no conversion; see `Runtime.prepare`."""
        return TorchNetwork(net, images, self.precision, self.threads, self.graphs, self.clock)


class TorchNetwork:
    """A network in torch.

    Args:
        net: in eval mode on the device of the images.
        images: B 3 H W, what `once` passes.
        precision: `fp32`, `fp16` or `bf16`.
        threads: CPU threads of a pass.
        graphs: whether a CUDA graph is replayed.
        clock: `wall` or `cpu`.
    """

    def __init__(
        self,
        net: Callable[[Tensor], object],
        images: Tensor,
        precision: str,
        threads: int,
        graphs: bool = False,
        clock: str = "wall",
    ) -> None:
        self._net: Callable[[Tensor], object] | None = net
        self._images, self._precision, self._threads = images, precision, threads
        self._graphs, self._clock = graphs, clock
        self._once: RunOnce | None = None

    @property
    def size(self) -> int | None:
        """Bytes of parameters and buffers, as a file of weights has them."""
        if not isinstance(self._net, nn.Module):
            return None
        return sum(each.numel() * each.element_size() for each in self._net.state_dict().values())

    def run(self, images: Tensor) -> list[Tensor]:
        assert self._net is not None, "this network has been closed"
        with torch.inference_mode(), torch_threads(self._threads), self._autocast():
            found = tree_leaves(self._net(images.to(self._images.device)))
        # tensors of inference mode cannot be used outside of it
        return [each.cpu().clone() for each in found if isinstance(each, Tensor)]

    def once(self) -> float:
        assert self._net is not None, "this network has been closed"
        with torch.inference_mode(), torch_threads(self._threads):
            if self._once is None:
                self._once = torch_once(self._net, self._images, self._autocast, self._graphs, self._clock)
            return self._once()

    def close(self) -> None:
        self._net = self._once = None

    def _autocast(self) -> AbstractContextManager[object]:
        dtype = _DTYPES.get(self._precision)
        return torch.autocast(self._images.device.type, dtype or torch.bfloat16, enabled=dtype is not None)


def torch_once(
    net: Callable[[Tensor], object],
    image: Tensor,
    autocast: Callable[[], AbstractContextManager[object]],
    graphs: bool = False,
    clock: str = "wall",
) -> RunOnce:
    """A timed forward pass in torch; CUDA events measure on CUDA, a host clock on CPU and MPS.

    Args:
        net: network or part of a network, in eval mode on the image's device.
        image: B 3 H W, or the input of the part.
        autocast: returns the context of the precision.
        graphs: whether a CUDA graph is recorded and replayed, which removes launch overhead.
        clock: `wall` or `cpu`; see `base.clock_for`.
    """

    def forward() -> None:
        with autocast():
            net(image)

    if image.device.type == "cuda":
        return _timed_by_events(_as_graph(forward) if graphs else forward)

    read = now(clock)

    def once() -> float:
        begin = read()
        forward()
        if image.device.type == "mps":
            torch.mps.synchronize()
        return 1000.0 * (read() - begin)

    return once


def _timed_by_events(forward: Callable[[], None]) -> RunOnce:
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def once() -> float:
        begin.record()
        forward()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end))

    return once


def _as_graph(forward: Callable[[], None]) -> Callable[[], None]:
    # lazy initialisation must finish before the capture, on another stream
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            forward()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        forward()
    return graph.replay
