"""CPU affinity of measurements (Linux)."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_STAT = Path("/proc/stat")
_THREADS = Path("/proc/self/task")
# observation time of core loads; the kernel counts in ticks of 10 ms
_LOOK_S = 0.05


@contextmanager
def pinned(count: int, wanted: bool = True) -> Iterator[list[int]]:
    """Pins all threads of this process to the `count` idlest of its cores; yields the cores, or [] without support.

    Pinned threads keep their caches and do not share their cores with programs on other cores. The cores are chosen
    anew each time.
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
    """The cores with the lowest load over `look_s` seconds; ties go to high numbers, as low ones serve interrupts."""
    before = _busy(stat)
    time.sleep(look_s)
    after = _busy(stat)
    worked = {core: after.get(core, 0) - before.get(core, 0) for core in cores}
    return sorted(sorted(cores, key=lambda core: (worked[core], -core))[:count])


def _busy(stat: Path) -> dict[int, int]:
    """Busy ticks of each core, from columns user nice system idle iowait irq softirq steal."""
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
        # a thread may have ended meanwhile
        with suppress(ProcessLookupError):
            os.sched_setaffinity(thread, cores)
