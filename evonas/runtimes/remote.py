"""Latency on a device elsewhere: networks are converted to ONNX here and timed there; see `device.py`.

Legend: B batch, H W space.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from evonas.errors import UserError
from evonas.runtimes.base import Settings
from evonas.runtimes.device import EXAMPLES, HERE, Address, Device, Passes, ThisDevice, device_at
from evonas.runtimes.latency_server import MAX_PASSES
from evonas.runtimes.onnxruntime import OnnxRuntime

# time in ms of a pass, of the pass of a reference after it, and whether another program interrupted them
Pass = tuple[float, float, bool]


@dataclass(frozen=True)
class Remote(OnnxRuntime):
    """Times networks on a device elsewhere, in ONNX Runtime or the program that its owner chose.

    Args:
        device: `http://host:port` of a latency server, or `ssh://user@host`.
        wait_s: how long the device may be out of reach before a measurement fails.
        expected: digest of the device's fingerprint at the beginning of the command; empty if it does not matter.

    Raises:
        UserError: the address cannot be read.
    """

    device: str = ""
    wait_s: float = 120.0
    expected: str = ""

    name: ClassVar[str] = "remote"
    providers: ClassVar[Mapping[str, str]] = {"cpu": "CPUExecutionProvider", "cuda": "CPUExecutionProvider"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.device:
            raise UserError("runtime=remote needs the address of a device.", f"runtime.device=... {EXAMPLES}")
        if not 0 < self.wait_s < 1e6:
            raise UserError(f"runtime.wait_s must be positive, got {self.wait_s}.", "runtime.wait_s=120")
        if self.device != HERE:
            Address.parse(self.device)

    @property
    def elsewhere(self) -> Device | ThisDevice:
        """The device; one connection for all objectives of a process."""
        return device_at(self.device, self.wait_s)

    def check(self, device: torch.device) -> None:
        """Checks that networks can be converted here, and that the device answers if it must be a known one.

        Raises:
            UserError: a package is missing here, or the device does not accept the token.
            EngineError: the device does not answer, or is another one than at the beginning.
        """
        Settings.check(self, device)
        if self.expected:
            self.elsewhere.check_unchanged(self.expected)

    def version(self) -> str:
        """The version of ONNX Runtime on the device, or the program that times there."""
        about = self.elsewhere.about
        return about.get("onnxruntime") or about.get("program", "")

    def label(self) -> list[str]:
        """What times networks on the device, and its version, for people."""
        return ["benchmark" if "program" in self.elsewhere.about else "onnxruntime", self.version()]

    def machine(self) -> dict[str, str]:
        """The device's fingerprint; its name comes with its processor."""
        about = self.elsewhere.about
        return {**about, "name": f"{about['name']} ({about['processor']})"}

    def load(self, model: bytes, images: Tensor, opened: Any = None) -> "RemoteNetwork":  # type: ignore[override]
        """The model as one that the device can be asked to time; nothing is sent yet. See `Converter.load`."""
        del images, opened
        clock = self.clock if self.clock == "wall" or self.elsewhere.has_thread_clock else "wall"
        return RemoteNetwork(self.elsewhere, model, self.threads, clock)


class RemoteNetwork:
    """A network that a device elsewhere can be asked to time; its outputs stay there.

    Args:
        device: of the times.
        model: an ONNX file.
        threads: of a pass.
        clock: `wall` or `cpu`.
    """

    def __init__(self, device: Device | ThisDevice, model: bytes, threads: int, clock: str) -> None:
        self.clock = clock
        self._device, self._model, self._threads = device, model, threads
        self._take: Callable[[], Pass] | None = None

    @property
    def model(self) -> bytes:
        """The ONNX file."""
        return self._model

    @property
    def size(self) -> int:
        return len(self._model)

    def run(self, images: Tensor) -> list[Tensor]:
        """Raises a UserError: a device elsewhere tells times alone."""
        del images
        raise UserError(
            f"The device {self._device} tells times, and no outputs of networks.",
            "Measure errors in the same runtime here: runtime=onnxruntime",
        )

    def once(self) -> float:
        if self._take is None:
            self._take = self.passes()
        return self._take()[0]

    def passes(
        self, beside: "RemoteNetwork | None" = None, least: int = 10, most: int = 100, seconds: float = 1.0
    ) -> Callable[[], Pass]:
        """A function that tells one pass after the other; the device makes many of them at a time.

        Args:
            beside: a reference that runs there after each pass, so that both see the same pace of the device.
            least: passes that are made at a time, however long they take.
            most: passes that are made at a time at most.
            seconds: further passes end after so many seconds.
        """
        known = deque[Pass]()

        def take() -> Pass:
            if not known:
                found = self.measured(beside, least, most, seconds)
                references = found.reference_ms or (0.0,) * len(found.ms)
                known.extend(zip(found.ms, references, found.disturbed, strict=True))
            return known.popleft()

        return take

    def measured(self, beside: "RemoteNetwork | None", least: int, most: int, seconds: float) -> Passes:
        """Passes that the device makes now, with memory and energy as far as it tells them; see `passes`."""
        return self._device.measure(
            self._model,
            beside._model if beside else b"",
            threads=self._threads,
            clock=self.clock,
            least=min(least, MAX_PASSES),
            passes=min(max(least, most), MAX_PASSES),
            seconds=seconds,
        )

    def close(self) -> None:
        """Nothing is held."""
