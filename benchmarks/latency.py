"""What isolation is worth: subnets timed twice under a competing load, with and without it.

A process that computes without end is kept on one core. The same subnets are timed in two passes by each way:
on any core by the wall clock, which is no isolation at all; on the idlest core; by the thread's own clock,
which does not count waiting for a core; and beside a reference network, which meets the machine at the same
pace (as `objective=[latency]` does). A way is good when both passes rank the subnets alike (Kendall) and its
spread (CV) is small.

    python benchmarks/latency.py            # 20 subnets of space=nano, three minutes when nothing else runs
    python benchmarks/latency.py 8          # fewer subnets
"""

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from scipy.stats import kendalltau

from evonas import config, schema, weights
from evonas.cli import conf_dir
from evonas.config import to_plain
from evonas.objectives.context import EvaluationContext
from evonas.objectives.latency.machine import machine
from evonas.objectives.latency.measured import Latency
from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.stages.build import factory
from evonas.stages.build.setup import Setup

_BARE = {"pin": False, "clock": "wall", "reference": False}
WAYS = {
    "any core, wall clock": _BARE,
    "idlest core, wall clock": {**_BARE, "pin": True},
    "idlest core, thread's clock": {**_BARE, "pin": True, "clock": "cpu"},
    "the same, beside a reference": {},
}
_BURN = "while True: pass"


def main(count: int) -> None:
    """Print one row for each way of timing."""
    # the table says how noisy they are
    logging.getLogger("evonas").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        bench, settings = _bench(Path(folder) / "supernet.safetensors")
        drawn = [bench.space.sample(generator(0, "benchmark", number)) for number in range(count)]
        about = machine(bench.device)
        print(
            f"{about['name']}, {about['cores']} cores, load {os.getloadavg()[0]:.1f}, {count} subnets twice"
        )
        with _competing():
            for name, way in WAYS.items():
                latency: Latency = config.build({**settings, **way})
                latency.prepare(bench)
                _print(name, *(_pass(latency, drawn) for _ in range(2)))


def _bench(path: Path) -> tuple[EvaluationContext, dict[str, Any]]:
    """The bench of a demo with random weights, and the settings of its latency."""
    schema.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("config", overrides=["+task=synthetic", "network=nano", "objective=[latency]"])
    weights.save(path, factory.supernet(Setup(cfg)).state_dict())
    bench = EvaluationContext(to_plain(cfg.space), to_plain(cfg.network), to_plain(cfg.task), path)
    return bench, to_plain(cfg.objective.latency)


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


def _pass(latency: Latency, drawn: Sequence[Genotype]) -> np.ndarray:
    """Rows of median, CV and the share of repeats that were disturbed."""
    measured = [latency.measure(genotype) for genotype in drawn]
    facts = [(value, extra["latency"]) for value, extra in measured]
    return np.array([[value, each["cv"], each["disturbed"] / each["repeats"]] for value, each in facts])


def _print(name: str, first: np.ndarray, second: np.ndarray) -> None:
    tau = kendalltau(first[:, 0], second[:, 0]).statistic
    moved = np.median(np.abs(first[:, 0] - second[:, 0]) / first[:, 0])
    spread = np.median([first[:, 1], second[:, 1]])
    hit = min(np.median([first[:, 2], second[:, 2]]), 1.0)
    print(
        f"{name:<29} median {np.median(first[:, 0]):6.2f} ms  CV {spread:6.1%}  disturbed {hit:4.0%}  "
        f"moved by {moved:5.1%}  Kendall {tau:.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
