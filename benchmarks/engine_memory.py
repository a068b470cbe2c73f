"""What the decoded images of a search cost in memory when four workers share them, against one worker.

Each process maps the file that the first of them made and looks at every image; then the system says what
the processes hold: each one's proportional share of the file (PSS), and pages of its own beyond those it had
before.

    python benchmarks/engine_memory.py                    # 300 MB of images; about a minute
    python benchmarks/engine_memory.py --megabytes 1000 --json memory.json
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from evonas.data.loading.shared_memory import Batch, shared_batches
from evonas.objectives.latency.machine import machine

REPEATS = 5


def main() -> None:
    """Measure and print a table; each row with the spread over its repetitions."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=300, help="size of the decoded images")
    parser.add_argument("--json", help="where to write the numbers too")
    parser.add_argument("--map", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.map:
        _map(options.megabytes)
        return
    about = machine(torch.device("cpu"))
    print(
        f"{about['name']}, {about['cores']} cores, torch {about['torch']}, {options.megabytes} MB of images\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        rows = _memory(Path(folder), options.megabytes)
    print("| what | median | least | most |\n|---|---|---|---|")
    for name, values in rows.items():
        print(f"| {name} | {statistics.median(values):.3f} | {min(values):.3f} | {max(values):.3f} |")
    if options.json:
        found = {"machine": about, "rows": rows}
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _memory(folder: Path, megabytes: int) -> dict[str, list[float]]:
    one, four = (_held(folder, count, megabytes) for count in (1, 4))
    ratios = [more / few for few, more in zip(one, four, strict=True)]
    return {"1 process, MB": one, "4 processes, MB": four, "4 processes / 1": ratios}


def _held(folder: Path, count: int, megabytes: int) -> list[float]:
    """MB that `count` processes hold in all when each of them has looked at all images, time after time."""
    words = [sys.executable, __file__, "--map", "--megabytes", str(megabytes)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(words, **pipes) for _ in range(count)]
    try:
        # the first time, allocators grow to their lasting size
        return [_once(processes, folder / f"{count}-{number}") for number in range(REPEATS + 1)][1:]
    finally:
        for process in processes:
            process.communicate()


def _once(processes: Sequence["subprocess.Popen[str]"], folder: Path) -> float:
    before = sum(int(_line(process)) for process in processes)
    for process in processes:
        assert process.stdin is not None
        print(folder, file=process.stdin, flush=True)
    assert {_line(process) for process in processes} == {"seen"}
    held = sum(_mapped(process.pid, folder) + _private(process.pid) for process in processes)
    for process in processes:
        assert process.stdin is not None
        print("next", file=process.stdin, flush=True)
    shutil.rmtree(folder)
    return (held - before) / 1000


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _map(megabytes: int) -> None:
    """What one process does: say what it holds, look at all images of the folder named, wait."""
    while True:
        print(_private("self"), flush=True)
        folder = sys.stdin.readline().strip()
        if not folder:
            return
        batches = shared_batches(Path(folder), "benchmark", lambda: _random(megabytes))
        # sums need no memory of their own, which would be counted
        assert sum(float(tensor.sum()) for batch in batches for tensor in batch.values())
        print("seen", flush=True)
        sys.stdin.readline()
        del batches


def _random(megabytes: int) -> Iterator[Batch]:
    """Batches of 8 noise images of 3 x 352 x 1216, the size of KITTI's, and their depth."""
    generator = torch.Generator().manual_seed(0)
    size = 8 * 4 * 352 * 1216 * 4
    for _ in range(max(megabytes * 1_000_000 // size, 1)):
        pixels = torch.randn(8, 4, 352, 1216, generator=generator)
        yield {"image": pixels[:, :3], "depth": pixels[:, 3:]}


def _private(pid: int | str) -> int:
    """kB that are this process's alone and come from no file."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))


def _mapped(pid: int, folder: Path) -> int:
    """The process's proportional share of the files of a folder that it maps, in kB."""
    held, is_ours = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            is_ours = str(folder) in line
        elif is_ours and first == "Pss:":
            held += int(rest[0])
    return held


if __name__ == "__main__":
    main()
