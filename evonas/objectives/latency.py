"""How long one forward of a subnet takes on this machine, with nothing else of ours running."""

import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from evonas.errors import UserError
from evonas.evaluate.engine import Part
from evonas.objectives.bench import Bench
from evonas.randomness import derive
from evonas.space.genotype import Genotype

VERSION = 1
NOISY_CV = 0.1


class Latency:
    """Median of repeated forwards of the extracted subnet, in ms.

    The original took the mean of 50 forwards, which one interruption can spoil; here repeats adapt to the
    network's speed, and spread and machine are kept with the value.

    Args:
        threads: CPU threads of the forward, whatever the process uses otherwise.
        warmup: forwards before timing begins.
        seconds: how long to repeat, at least.
        min_repeats: timed forwards, at least.
        max_repeats: timed forwards, at most.
    """

    name = "latency"
    unit = "ms"
    part: Part = "exclusive"

    def __init__(
        self,
        threads: int = 1,
        warmup: int = 3,
        seconds: float = 0.1,
        min_repeats: int = 10,
        max_repeats: int = 200,
    ) -> None:
        if min(threads, warmup, min_repeats) < 1 or max_repeats < min_repeats:
            raise UserError(
                f"latency cannot use threads={threads} warmup={warmup} min_repeats={min_repeats} "
                f"max_repeats={max_repeats}.",
                "All must be at least 1, and max_repeats at least min_repeats.",
            )
        self.threads, self.warmup, self.seconds = threads, warmup, seconds
        self.min_repeats, self.max_repeats = min_repeats, max_repeats

    def prepare(self, bench: Bench) -> None:
        """Draw the image that every subnet is timed on."""
        self._bench = bench
        generator = torch.Generator().manual_seed(derive(0, "latency"))
        self._image = torch.randn((1, 3, *bench.input_size), generator=generator).to(bench.device)

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]:
        """The median in ms; percentiles, spread, repeats and the machine beside it."""
        subnet = self._bench.subnet(genotype)

        def forward() -> None:
            with self._bench.autocast():
                subnet(self._image)
            _synchronise(self._bench.device)

        with torch.inference_mode(), _threads(self.threads):
            times = self._times(forward)
        return statistics.median(times), {"latency": _spread(times), "device": machine(self._bench.device)}

    def identity(self, bench: Bench) -> Mapping[str, Any]:
        """The machine, the threads and the image; not the weights, which do not change the work."""
        return {
            "version": VERSION,
            "threads": self.threads,
            "input_size": list(bench.input_size),
            "precision": bench.precision,
            "device": machine(bench.device),
        }

    def _times(self, forward: Callable[[], None]) -> list[float]:
        for _ in range(self.warmup):
            forward()
        times: list[float] = []
        while len(times) < self.max_repeats and (
            len(times) < self.min_repeats or sum(times) < 1000.0 * self.seconds
        ):
            begin = time.perf_counter()
            forward()
            times.append(1000.0 * (time.perf_counter() - begin))
        return times


def machine(device: torch.device) -> dict[str, str]:
    """What a latency depends on besides the network: processor and version of torch."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {"type": device.type, "name": name, "torch": torch.__version__}


def _spread(times: list[float]) -> dict[str, Any]:
    deciles = statistics.quantiles(times, n=10) if len(times) > 1 else [times[0]] * 9
    variation = statistics.pstdev(times) / statistics.fmean(times)
    return {
        "p10_ms": deciles[0],
        "p90_ms": deciles[-1],
        "mean_ms": statistics.fmean(times),
        "cv": variation,
        "noisy": variation > NOISY_CV,
        "repeats": len(times),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
