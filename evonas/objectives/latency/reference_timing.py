"""Reference timing: timed runs with preemption counts, scaled by a reference run.

The speed of a shared machine varies by tens of percent within seconds: caches and memory are shared, clock rates
change, and virtual machines share cores. Consecutive runs have the same speed, so their ratio is stable although
their times are not.
"""

from collections.abc import Callable
from dataclasses import dataclass

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

# runs the work once and returns its time in ms
RunOnce = Callable[[], float]


@dataclass(frozen=True, slots=True)
class TimedRun:
    """One timed run.

    Args:
        ms: time, scaled by the reference if there is one.
        spent_ms: elapsed time, reference included.
        is_disturbed: whether the thread was preempted.
    """

    ms: float
    spent_ms: float
    is_disturbed: bool = False


TimedRunner = Callable[[], TimedRun]
# the runner of a reference network, and its time in ms on an idle machine
Reference = tuple[TimedRunner, float]


def counting_preemptions(once: RunOnce) -> TimedRunner:
    """Adds preemption counting to a run: an involuntary context switch marks it as disturbed."""

    def take() -> TimedRun:
        before = _involuntary_switches()
        ms = once()
        return TimedRun(ms, ms, _involuntary_switches() > before)

    return take


def with_reference(take: TimedRunner, reference: TimedRunner, nominal_ms: float) -> TimedRunner:
    """Runs a reference after each run and scales the time by nominal_ms / (time of the reference)."""

    def both() -> TimedRun:
        run, beside = take(), reference()
        return TimedRun(
            nominal_ms * run.ms / beside.ms,
            run.spent_ms + beside.spent_ms,
            run.is_disturbed or beside.is_disturbed,
        )

    return both


def _involuntary_switches() -> int:
    """Number of involuntary context switches of the calling thread; 0 if the system does not report it."""
    thread = getattr(resource, "RUSAGE_THREAD", None)
    return 0 if thread is None else int(resource.getrusage(thread).ru_nivcsw)
