"""Keeping a measurement on cores of its own, where the system lets a process choose them (Linux)."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_STAT = Path("/proc/stat")
_THREADS = Path("/proc/self/task")
# the kernel counts in hundredths of a second
_LOOK_S = 0.05


@contextmanager
def pinned(count: int, wanted: bool = True) -> Iterator[list[int]]:
    """Every thread of this process on the `count` idlest of its cores; the cores, or none if impossible.

    A pinned thread does not lose its caches to a migration, and does not share its core with what runs on
    others. The choice is made anew each time, because other programs come and go.
    """
    if not wanted or not hasattr(os, "sched_setaffinity"):
        yield []
        return
    before = os.sched_getaffinity(0)
    cores = idlest(sorted(before), count) if len(before) > count else sorted(before)
    _set(cores)
    try:
        yield cores
    finally:
        _set(sorted(before))


def idlest(cores: Sequence[int], count: int, stat: Path = _STAT, look_s: float = _LOOK_S) -> list[int]:
    """The cores that did least during a short look; of equals the last: the first serve interrupts."""
    before = _busy(stat)
    time.sleep(look_s)
    after = _busy(stat)
    worked = {core: after.get(core, 0) - before.get(core, 0) for core in cores}
    return sorted(sorted(cores, key=lambda core: (worked[core], -core))[:count])


def _busy(stat: Path) -> dict[int, int]:
    """Ticks that each core did not idle: columns user nice system idle iowait irq softirq steal."""
    if not stat.is_file():
        return {}
    found = {}
    for line in stat.read_text(encoding="utf-8").splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdigit():
            numbers = [int(each) for each in ticks[:8]]
            found[int(name[3:])] = sum(numbers) - numbers[3] - numbers[4]
    return found


def _set(cores: Sequence[int]) -> None:
    threads = [int(entry.name) for entry in _THREADS.iterdir()] if _THREADS.is_dir() else [0]
    for thread in threads:
        # a thread may have ended since it was listed
        with suppress(ProcessLookupError):
            os.sched_setaffinity(thread, cores)
