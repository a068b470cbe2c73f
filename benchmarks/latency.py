"""What isolation is worth: subnets timed twice under a competing load, with and without it.

A process that computes without end is kept on one core. The same subnets are timed in two passes, on any core
by the wall clock, then on the idlest core by the wall clock, then on it by the thread's own clock. A way of
timing is good when the two passes rank the subnets alike (Kendall) and its spread (CV) is small.

    python benchmarks/latency.py            # 20 subnets of space=nano, about a minute when nothing else runs
    python benchmarks/latency.py 8          # fewer subnets
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from scipy.stats import kendalltau

from evonas import config, schema, weights
from evonas.cli import conf_dir
from evonas.config import to_plain
from evonas.objectives.bench import Bench
from evonas.objectives.latency import Latency
from evonas.objectives.machine import machine
from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.stages import assembly

WAYS = {
    "any core, wall clock": {"pin": False},
    "idlest core, wall clock": {"pin": True},
    "idlest core, thread's clock": {"pin": True, "clock": "cpu"},
}
_BURN = "while True: pass"


def main(count: int) -> None:
    """Print one row for each way of timing."""
    with tempfile.TemporaryDirectory() as folder:
        bench = _bench(Path(folder) / "supernet.safetensors")
        drawn = [bench.space.sample(generator(0, "benchmark", number)) for number in range(count)]
        about = machine(bench.device)
        print(
            f"{about['name']}, {about['cores']} cores, load {os.getloadavg()[0]:.1f}, {count} subnets twice"
        )
        with _competing():
            for name, way in WAYS.items():
                _print(name, *(_pass(bench, drawn, way) for _ in range(2)))


def _bench(path: Path) -> Bench:
    schema.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("config", overrides=["+task=synthetic"])
    weights.save(path, assembly.supernet(cfg).state_dict())
    return Bench(to_plain(cfg.space), to_plain(cfg.network), to_plain(cfg.task), path)


@contextmanager
def _competing() -> Iterator[None]:
    """Another program on the last of our cores."""
    burning = subprocess.Popen([sys.executable, "-c", _BURN])
    try:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(burning.pid, [max(os.sched_getaffinity(0))])
        yield
    finally:
        burning.kill()
        burning.wait()


def _pass(bench: Bench, drawn: Sequence[Genotype], way: dict[str, object]) -> np.ndarray:
    """Rows of median and CV."""
    latency = Latency(**way)  # type: ignore[arg-type]
    latency.prepare(bench)
    measured = [latency.measure(genotype) for genotype in drawn]
    return np.array([[value, extra["latency"]["cv"]] for value, extra in measured])


def _print(name: str, first: np.ndarray, second: np.ndarray) -> None:
    tau = kendalltau(first[:, 0], second[:, 0]).statistic
    moved = np.median(np.abs(first[:, 0] - second[:, 0]) / first[:, 0])
    spread = np.median([first[:, 1], second[:, 1]])
    print(f"{name:<28} median {np.median(first[:, 0]):6.2f} ms  CV {spread:6.1%}  "
          f"second pass moved by {moved:5.1%}  Kendall {tau:.3f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
