"""Laps: one timed run each, with what disturbed it, told in terms of a reference that ran beside it.

The speed of a computer that others use as well wavers by tens of percent over seconds: caches and memory are
shared, clocks change, and on virtual machines the cores themselves are lent out. Two runs next to each other
meet the same speed, so their ratio is steady where neither time is.
"""

from collections.abc import Callable
from dataclasses import dataclass

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

RunOnce = Callable[[], float]


@dataclass(frozen=True, slots=True)
class TimedRun:
    """One timed run.

    Args:
        ms: how long it took, corrected by the reference if there is one.
        spent_ms: what it cost to learn that, reference included.
        is_disturbed: whether another program took the core away meanwhile.
    """

    ms: float
    spent_ms: float
    is_disturbed: bool = False


TimedRunner = Callable[[], TimedRun]
# takes runs of what the others are compared with, and its time in ms on a calm machine
Reference = tuple[TimedRunner, float]


def counting_preemptions(once: RunOnce) -> TimedRunner:
    """Laps of something that returns how long it took in ms; involuntary switches count as disturbance."""

    def take() -> TimedRun:
        before = _involuntary_switches()
        ms = once()
        return TimedRun(ms, ms, _involuntary_switches() > before)

    return take


def with_reference(take: TimedRunner, reference: TimedRunner, nominal_ms: float) -> TimedRunner:
    """Laps corrected by a reference after each: what they take where the reference takes `nominal_ms`."""

    def both() -> TimedRun:
        run, beside = take(), reference()
        return TimedRun(
            nominal_ms * run.ms / beside.ms,
            run.spent_ms + beside.spent_ms,
            run.is_disturbed or beside.is_disturbed,
        )

    return both


def _involuntary_switches() -> int:
    """How often the system took the core from the calling thread; always 0 where it does not say."""
    thread = getattr(resource, "RUSAGE_THREAD", None)
    return 0 if thread is None else int(resource.getrusage(thread).ru_nivcsw)
