"""What every runtime promises, and the settings that all runtimes have in common.

A runtime is what runs a network where it is shipped: torch's eager mode, `torch.compile`, ONNX Runtime, OpenVINO,
ExecuTorch, LiteRT, or TensorRT. It converts a network to its own format (`prepare`), and what it returns computes
outputs (`run`) and times one pass of a batch (`once`). How often a pass is timed, and what is concluded from the times,
is decided by `objectives/latency`.

A conversion costs from a few hundred milliseconds to a minute and does not depend on weights, as latencies do not. Who
names the structure of a network (`structure`) has it converted once; see `conversions.py`.

Legend: B batch, H W space.
"""

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.runtimes.conversions import Conversions
from evonas.runtimes.quantisation import Quantisation

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
# a setting that is resolved where the device and `hardware.precision` are known
AUTO = "auto"
# precision of networks that are evaluated in one of `hardware.precision`
OF_HARDWARE = {"32-true": "fp32", "bf16-mixed": "bf16", "16-mixed": "fp16"}
CLOCKS = (AUTO, "wall", "cpu")
# coarsest usable resolution of the thread clock in seconds
_FINE_S = 1e-5


class Prepared(Protocol):
    """A network that a runtime has converted and loaded."""

    @property
    def size(self) -> int | None:
        """Bytes of the model as it is shipped; None where the runtime has no format of its own."""
        ...

    def run(self, images: Tensor) -> list[Tensor]:
        """Outputs of the network, on the CPU, in the order in which the network returns them.

        Args:
            images: B 3 H W, of the shape that it was prepared for.
        """
        ...

    def once(self) -> float:
        """Time in ms of one pass of the images that it was prepared with, a whole batch."""
        ...

    def close(self) -> None:
        """Frees what it holds; it cannot be run afterwards. May be called twice."""
        ...


class Runtime(Protocol):
    """Runs networks in one precision, with a number of threads and images; see the module."""

    @property
    def name(self) -> str:
        """The option of `runtime=`."""
        ...

    @property
    def precision(self) -> str:
        """One of `PRECISIONS`."""
        ...

    @property
    def threads(self) -> int:
        """CPU threads of a pass."""
        ...

    @property
    def batch(self) -> int:
        """Images of a pass."""
        ...

    @property
    def clock(self) -> str:
        """`wall`, or `cpu` for the time that the calling thread computed."""
        ...

    def check(self, device: torch.device) -> None:
        """Raises a UserError if a package is missing, or precision or device are not supported."""
        ...

    def version(self) -> str:
        """The version of the runtime's package."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """What latencies depend on besides name, version, precision, threads and batch, as JSON data."""
        ...

    def prepare(
        self, net: nn.Module, images: Tensor, calibration: Sequence[Tensor] = (), structure: str = ""
    ) -> Prepared:
        """Converts and loads a network, which stays as it is.

        Args:
            net: in eval mode on the device.
            images: B 3 H W on the device, with B of `batch`.
            calibration: images of the training split, B 3 H W each, that int8 is calibrated with.
            structure: names the structure of the network. Networks of one structure are converted once, and the
                weights are those of the first one; empty where weights matter.

        Raises:
            UserError: the runtime cannot convert the network.
        """
        ...


@dataclass(frozen=True)
class Settings:
    """The settings that all runtimes have in common.

    Args:
        precision: one of `PRECISIONS`; `auto` until it is known in which precision networks are evaluated.
        threads: CPU threads of a pass.
        batch: images of a pass.
        clock: `wall` or `cpu`; see `clock_for`.
        conversions: where converted networks are kept.
        int8: how networks are quantised where precision is int8.

    Raises:
        UserError: precision is unknown, or threads or batch is below 1.
    """

    precision: str = AUTO
    threads: int = 1
    batch: int = 1
    clock: str = "wall"
    conversions: Conversions = field(default_factory=Conversions, compare=False, repr=False)
    int8: Quantisation = field(default_factory=Quantisation)

    name: ClassVar[str] = ""
    # packages that it imports, and the extra that installs them
    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    # what it computes in, on a CPU and on other devices
    precisions: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    # whether the calling thread does all the work of one thread, so that its own clock sees it
    computes_in_caller: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.precision not in (AUTO, *PRECISIONS):
            raise UserError(
                f"runtime.precision={self.precision} is unknown.",
                f"Choose among {', '.join((AUTO, *PRECISIONS))}.",
            )
        for key in ("threads", "batch"):
            if getattr(self, key) < 1:
                raise UserError(
                    f"runtime.{key} must be at least 1, got {getattr(self, key)}.", f"runtime.{key}=1"
                )

    def check(self, device: torch.device) -> None:
        """Checks packages, device and precision; see `Runtime.check`."""
        if missing := [package for package in self.packages if not is_installed(package)]:
            verb = "is" if len(missing) == 1 else "are"
            raise UserError(
                f"runtime={self.name} needs {', '.join(missing)}, which {verb} not installed.",
                f"pip install 'evonas[{self.extra}]', or runtime=torch",
            )
        known = self.precisions.get(device.type, ())
        if not known:
            raise UserError(
                f"runtime={self.name} does not run on {device.type}, only on {', '.join(self.precisions)}.",
                "runtime=torch",
            )
        if self.precision not in known:
            raise UserError(
                f"runtime={self.name} computes in {', '.join(known)} on {device.type}, not in {self.precision}.",
                f"runtime.precision={known[0]}, or another runtime",
            )

    def identity(self) -> Mapping[str, Any]:
        """How networks are quantised; nothing in other precisions. See `Runtime.identity`."""
        return {"int8": self.int8.structure()} if self.precision == "int8" else {}


@dataclass(frozen=True)
class Converter(Settings):
    """A runtime with a model format of its own: it converts a network once for each structure, and loads the model."""

    def source(self) -> Mapping[str, Any]:
        """Format of the models, and versions of what converts networks, as JSON data."""
        raise NotImplementedError

    def convert(self, net: nn.Module, images: Tensor) -> tuple[bytes, Any]:
        """The network as a model, and what the conversion has opened of it already, or None.

        Args:
            net: a copy in eval mode on the CPU, which may be changed.
            images: B 3 H W on the CPU.

        Raises:
            UserError: the runtime cannot convert it.
        """
        raise NotImplementedError

    def quantised(self, net: nn.Module, images: Tensor, calibration: Sequence[Tensor]) -> tuple[bytes, Any]:
        """The same in int8, calibrated with images of the training split."""
        del net, images, calibration
        raise UserError(
            f"runtime={self.name} has no static quantisation to int8 here.", "runtime.precision=fp32"
        )

    def load(self, model: bytes, images: Tensor, opened: Any = None) -> Prepared:
        """Loads a model that was converted for images of this shape.

        Args:
            model: what `convert` made.
            images: B 3 H W on the device.
            opened: what `convert` has opened of it, or None.
        """
        raise NotImplementedError

    def prepare(
        self, net: nn.Module, images: Tensor, calibration: Sequence[Tensor] = (), structure: str = ""
    ) -> Prepared:
        """Converts the network, or takes an earlier conversion, and loads it; see `Runtime.prepare`."""
        opened: Any = None

        def made() -> bytes:
            nonlocal opened
            # other objectives use the network as well, perhaps on another device
            own, shown = copy.deepcopy(net).cpu(), images.cpu()
            if self.precision == "int8":
                model, opened = self.quantised(own, shown, calibration)
            else:
                model, opened = self.convert(own, shown)
            return model

        source = {
            **self.source(),
            **Settings.identity(self),
            "precision": "int8" if self.precision == "int8" else "float",
            "structure": structure,
            "images": list(images.shape),
        }
        model = self.conversions.get(source, made) if structure else made()
        return self.load(model, images, opened)


def is_installed(package: str) -> bool:
    """Whether a package, whose dots are those of its modules, can be imported."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def clock_for(clock: str, runtime: type[Settings], device: torch.device, threads: int) -> str:
    """Resolves `auto`: the thread's CPU clock if the calling thread does all the work, else the wall clock.

    Raises:
        UserError: clock is unknown, or clock=cpu and other threads or a device compute.
    """
    if clock not in CLOCKS:
        raise UserError(f"objective.latency.clock={clock} is unknown.", f"Choose among {', '.join(CLOCKS)}.")
    sees_all = device.type == "cpu" and threads == 1 and runtime.computes_in_caller
    is_fine = time.get_clock_info("thread_time").resolution < _FINE_S
    if clock == "cpu" and not sees_all:
        raise UserError(
            f"clock=cpu needs a CPU with one thread, not {runtime.name} on {device.type} with {threads}.",
            "objective.latency.clock=wall",
        )
    return clock if clock != AUTO else "cpu" if sees_all and is_fine else "wall"


def now(clock: str) -> Callable[[], float]:
    """The function that reads `wall` or `cpu`, in seconds."""
    return time.thread_time if clock == "cpu" else time.perf_counter


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Sets the number of torch's CPU threads and restores it at the end."""
    before = torch.get_num_threads()
    if before == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class HostNetwork:
    """A converted network that a function of the host runs on arrays; passes include the copies that it makes.

    Args:
        infer: outputs of an array B 3 H W; released by `close`.
        images: B 3 H W, what `once` passes.
        clock: `wall` or `cpu`.
        size: bytes of the model, or what tells them when they are asked for.
    """

    def __init__(
        self,
        infer: Callable[[np.ndarray], Sequence[np.ndarray]],
        images: Tensor,
        clock: str,
        size: int | Callable[[], int] | None,
    ) -> None:
        self._infer: Callable[[np.ndarray], Sequence[np.ndarray]] | None = infer
        self._images = images.cpu().numpy()
        self._now = now(clock)
        self._size = size

    @property
    def size(self) -> int | None:
        if callable(self._size):
            self._size = self._size()
        return self._size

    def run(self, images: Tensor) -> list[Tensor]:
        # the runtime may reuse the memory of outputs
        return [torch.from_numpy(np.array(each)) for each in self._call(images.cpu().numpy())]

    def once(self) -> float:
        infer, images, clock = self._infer, self._images, self._now
        if infer is None:
            raise RuntimeError("this network has been closed")
        begin = clock()
        infer(images)
        return 1000.0 * (clock() - begin)

    def close(self) -> None:
        self._infer = None

    def _call(self, images: np.ndarray) -> Sequence[np.ndarray]:
        if self._infer is None:
            raise RuntimeError("this network has been closed")
        return self._infer(images)
