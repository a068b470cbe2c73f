"""Kill a real search over and over, and show that its archive does not care.

One search is left in peace. Another of the same seed loses its driver five times and a worker
five times, each by SIGKILL at a random moment, and goes on with `run=last resume=true`. Both
archives must have the same canonical dump. Only objectives that can be repeated exactly are
used: latency is left out.

    python benchmarks/kills.py outputs demo        # demo: a run of +task=synthetic with a supernet
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from evonas.archive import Archive
from evonas.randomness import generator

KILLS = 5
ARCHIVE = "search/archive.sqlite"


def main(folder: str, inputs: str, seed: int = 0) -> None:
    """Run both searches below `folder` and print one line for each claim."""
    outputs = Path(folder)
    first = _command(f"inputs={inputs}", "+task=synthetic", f"outputs={folder}")
    began = time.monotonic()
    subprocess.run([*first, "run=peace"], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    rng = generator(seed, "kills")
    hits = {"driver": 0, "worker": 0}
    for kind in ["driver", "worker"] * KILLS:
        start = [*first, "run=killed"] if not (outputs / "killed").exists() else _go_on(folder)
        hits[kind] += _kill(start, kind, rng.uniform(0.15, 0.3) * seconds, rng)
    subprocess.run(_go_on(folder), check=True, stdout=subprocess.DEVNULL)
    _print(outputs, hits, seconds)


def _command(*words: str) -> list[str]:
    search = ("stage=search", "objective=[error,macs,params]", "budget.evaluations=240")
    return [sys.executable, "-m", "evonas", *search, *words]


def _go_on(folder: str) -> list[str]:
    return [sys.executable, "-m", "evonas", "run=last", "resume=true", "stage=search", f"outputs={folder}"]


def _kill(command: list[str], kind: str, after: float, rng: np.random.Generator) -> int:
    """Start a driver and kill it, or one of its workers; returns whether something was killed.

    After a worker's death the driver goes on for a while and is then stopped politely, so that
    the next kill finds work to disturb.
    """
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _wait(driver, after)
    victim = driver.pid if kind == "driver" else _worker(driver.pid, rng)
    hit = driver.poll() is None and victim is not None
    if hit and victim is not None:
        os.kill(victim, signal.SIGKILL)
    if kind == "worker" and driver.poll() is None:
        _wait(driver, 3.0)
        driver.send_signal(signal.SIGINT)
    driver.wait()
    return int(hit)


def _wait(driver: "subprocess.Popen[bytes]", seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and driver.poll() is None:
        time.sleep(0.05)


def _worker(driver: int, rng: np.random.Generator) -> int | None:
    try:
        children = Path(f"/proc/{driver}/task/{driver}/children").read_text().split()
    except FileNotFoundError:
        return None
    return int(rng.choice([int(child) for child in children])) if children else None


def _print(outputs: Path, hits: dict[str, int], seconds: float) -> None:
    dumps, rows = {}, {}
    for run in ("peace", "killed"):
        archive = Archive.read(outputs / run / ARCHIVE)
        dumps[run], rows[run] = archive.digest(), len(archive.evaluations())
        archive.close()
    print(f"undisturbed: {rows['peace']} facts in {seconds:.0f} s, dump {dumps['peace'][:16]}")
    print(f"killed: {hits['driver']} drivers, {hits['worker']} workers, {rows['killed']} facts")
    print(f"dump {dumps['killed'][:16]}: {'identical' if dumps['peace'] == dumps['killed'] else 'DIFFERENT'}")
    if dumps["peace"] != dumps["killed"]:
        raise SystemExit(1)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("Say folder and run: python benchmarks/kills.py outputs demo")
    main(*sys.argv[1:])
