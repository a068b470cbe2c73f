"""Latencies on a busy computer: how many are measured, how many fail, and how many are impossible.

Some subnets are timed on the computer as it is, and then again and again beside processes that compute without end.
A latency is impossible if it is less than half of what the same subnet took before: no load makes a network faster.

    python benchmarks/latency_busy.py                                    # torch, 200 latencies beside 8 processes
    python benchmarks/latency_busy.py --runtime onnxruntime --count 50
"""

import argparse
import logging
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import latency as isolated
import numpy as np

from evonas import config
from evonas.errors import DisturbedError
from evonas.objectives.latency.machine import machine
from evonas.objectives.latency.measured import Latency
from evonas.randomness import generator
from evonas.space.genotype import Genotype

_BURN = "while True: pass"
_IMPOSSIBLE = 0.5
_NICE = 19
# shorter than by default, since there are many and no load lets any become precise
_SHORT = {"warmup_seconds": 0.2, "max_seconds": 0.4}


def main() -> None:
    """Print what was measured before and beside the load."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runtime", default="torch", choices=["torch", "onnxruntime"])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--subnets", type=int, default=8)
    parser.add_argument("--busy", type=int, default=8, help="processes that compute without end")
    given = parser.parse_args()
    logging.getLogger("evonas").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        bench, settings = isolated._bench(Path(folder) / "supernet.safetensors")
        made: Latency = config.build({**settings, **_SHORT, "runtime": given.runtime})
        made.prepare(bench)
        drawn = [bench.space.sample(generator(0, "benchmark", number)) for number in range(given.subnets)]
        quiet = [min(_measured(made, genotype)[0] for _ in range(2)) for genotype in drawn]
        print(f"{machine(bench.device)['name']}, load {os.getloadavg()[0]:.1f}, {given.runtime}")
        print(f"before: {', '.join(f'{value:.3g}' for value in quiet)} ms", flush=True)
        # what was timed on the quiet computer is not taken for the reference beside the load
        made._nominal = None
        found, failures = [], Counter[str]()
        with _busy(given.busy):
            for number in range(given.count):
                at = number % len(drawn)
                try:
                    value, record = _measured(made, drawn[at])
                except DisturbedError as error:
                    failures[str(error)] += 1
                    continue
                found.append((value / quiet[at], record["high_ms"] - record["low_ms"] > value))
    shares = np.array([share for share, _ in found])
    impossible = int((shares < _IMPOSSIBLE).sum()) + sum(wide for _, wide in found)
    print(
        f"beside {given.busy} processes: {len(found)} measured, {failures.total()} failed, {impossible} impossible"
    )
    if len(found):
        low, middle, high = np.quantile(shares, [0, 0.5, 1])
        print(f"shares of the values before: least {low:.2f}, median {middle:.2f}, most {high:.2f}")
    for reason, count in failures.items():
        print(f"{count} failed: {reason}")


def _measured(made: Latency, genotype: Genotype) -> tuple[float, dict[str, Any]]:
    value, facts = made.measure(genotype)
    return value, dict(facts["latency"])


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """Processes that compute without end, politely."""
    burning = [
        subprocess.Popen(["nice", "-n", str(_NICE), sys.executable, "-c", _BURN]) for _ in range(count)
    ]
    try:
        yield
    finally:
        for each in burning:
            each.kill()
            each.wait()


if __name__ == "__main__":
    main()
