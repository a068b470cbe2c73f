"""Timing by repetition: warms up until times are stable, then repeats until the median is known precisely.

It is independent of networks and devices: what is timed is a function that returns a `TimedRun`.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from evonas.errors import DisturbedError, UserError
from evonas.objectives.latency.reference_timing import TimedRun, TimedRunner

# 95 % quantile (two-sided) of the normal distribution
_Z = 1.96
_WINDOW = 5
# undisturbed repeats that are enough to leave the others out, and how often a timing is repeated
_LEAST_UNDISTURBED, _TIMINGS = 5, 3
# a run that takes longer than the scheduler lets others wait is interrupted on every machine that does anything else
_SLICE_MS = 50.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Stopping rules of a timing.

    Args:
        warmup: minimum number of warm-up repeats.
        warmup_seconds: maximum duration of the warm-up.
        tolerance: times are stable if medians of two consecutive windows have a smaller relative difference.
        seconds: minimum duration.
        max_seconds: maximum duration, once there are `min_repeats`.
        min_repeats: minimum number of timed repeats.
        max_repeats: maximum number of timed repeats.
        precision: target for half the width of the median's 95 % interval, relative to the median.

    Raises:
        UserError: a number of repeats is below 1, or max_repeats is below min_repeats.
    """

    warmup: int = 3
    warmup_seconds: float = 1.0
    tolerance: float = 0.05
    seconds: float = 0.1
    max_seconds: float = 2.0
    min_repeats: int = 10
    max_repeats: int = 200
    precision: float = 0.02

    def __post_init__(self) -> None:
        if min(self.warmup, self.min_repeats) < 1 or self.max_repeats < self.min_repeats:
            raise UserError(
                "warmup and min_repeats must be at least 1 and max_repeats at least min_repeats, got "
                f"warmup={self.warmup} min_repeats={self.min_repeats} max_repeats={self.max_repeats}.",
                "Check objective.latency.",
            )


# timing of a reference network, whose fastest repeat is its time on an idle machine
NOMINAL = Plan(warmup=3, warmup_seconds=0.3, seconds=0.2, max_seconds=0.4, min_repeats=10)


@dataclass(frozen=True, slots=True)
class Timing:
    """Result of a timing.

    Args:
        times: times in ms, in order, without preempted repeats if enough others remain.
        warmups: number of warm-up repeats.
        is_stable: whether the warm-up ended with stable times.
        disturbed: number of preempted repeats, included in `times` or not.
        runs: number of all repeats.
    """

    times: tuple[float, ...]
    warmups: int
    is_stable: bool
    disturbed: int = 0
    runs: int = 0

    @property
    def doubt(self) -> str:
        """Why the median is no measurement of the network, or the empty string.

        A median whose interval is wider than itself may be several times too small as well as too large. One of
        disturbed repeats alone says what the other programs did, unless a run takes longer than they wait.
        """
        low, high = interval(self.times)
        if high - low > self.median:
            return "its interval is wider than its value"
        if self.runs and self.disturbed == self.runs and self.median < _SLICE_MS:
            return "other programs interrupted every repeat"
        return ""

    @property
    def median(self) -> float:
        """Median time in ms."""
        return statistics.median(self.times)

    @property
    def fastest(self) -> float:
        """Minimum time in ms."""
        return min(self.times)

    @property
    def cv(self) -> float:
        """Coefficient of variation: standard deviation divided by mean."""
        return statistics.pstdev(self.times) / statistics.fmean(self.times)

    def summary(self, cv_limit: float) -> dict[str, Any]:
        """Percentiles, the median's 95 % interval, spread and numbers of repeats, as JSON data.

        Args:
            cv_limit: a larger coefficient of variation sets `noisy`.
        """
        deciles = statistics.quantiles(self.times, n=10) if len(self.times) > 1 else [self.times[0]] * 9
        low, high = interval(self.times)
        return {
            "p10_ms": deciles[0],
            "p90_ms": deciles[-1],
            "low_ms": low,
            "high_ms": high,
            "mean_ms": statistics.fmean(self.times),
            "cv": self.cv,
            "cv_limit": cv_limit,
            "noisy": self.cv > cv_limit,
            "repeats": len(self.times),
            "disturbed": self.disturbed,
            "runs": self.runs,
            "warmups": self.warmups,
            "stable": self.is_stable,
        }


def measure(take: TimedRunner, plan: Plan) -> Timing:
    """Warms up and repeats, as the plan specifies.

    A preempted repeat runs with colder caches, so it counts only if fewer than five others remain.

    Args:
        take: runs the work once.
        plan: stopping rules.
    """
    warmups, is_stable = _warm_up(take, plan)
    runs: list[TimedRun] = []
    times: list[float] = []
    spent, is_enough = 0.0, False
    while len(runs) < plan.max_repeats:
        if len(runs) >= plan.min_repeats:
            low, high = interval(times)
            # preempted repeats that agree say nothing
            is_precise = is_enough and high - low <= 2 * plan.precision * statistics.median(times)
            limit = min(plan.seconds, plan.max_seconds) if is_precise else plan.max_seconds
            if spent >= 1000.0 * limit:
                break
        runs.append(take())
        spent += runs[-1].spent_ms
        undisturbed = [run.ms for run in runs if not run.is_disturbed]
        is_enough = len(undisturbed) >= min(plan.min_repeats, _LEAST_UNDISTURBED)
        times = undisturbed if is_enough else [run.ms for run in runs]
    return Timing(tuple(times), warmups, is_stable, sum(run.is_disturbed for run in runs), len(runs))


def measure_again(take: TimedRunner, plan: Plan) -> Timing:
    """`measure`, repeated with twice the repeats while its result is no measurement; the last one may be none."""
    for number in range(_TIMINGS):
        # few repeats have a wide interval, and are soon all interrupted
        longer = replace(
            plan,
            min_repeats=min(2**number * plan.min_repeats, plan.max_repeats),
            max_seconds=2**number * plan.max_seconds,
        )
        timing = measure(take, longer)
        if not timing.doubt:
            break
    return timing


def measure_credibly(take: TimedRunner, plan: Plan) -> Timing:
    """`measure_again`, whose result is a measurement.

    Raises:
        DisturbedError: no timing was credible; see `Timing.doubt`.
    """
    timing = measure_again(take, plan)
    if timing.doubt:
        raise DisturbedError(
            f"latency was measured {_TIMINGS} times, and {timing.doubt}",
            "Repeat the command when the computer has less to do.",
        )
    return timing


def interval(times: Sequence[float]) -> tuple[float, float]:
    """The distribution-free 95 % confidence interval of the median from order statistics.

    The ranks are n/2 -+ 1.96 sqrt(n)/2 (the binomial's normal approximation; W. J. Conover, Practical
    Nonparametric Statistics, 1999, section 3.2).
    """
    ordered = sorted(times)
    count = len(ordered)
    reach = _Z * math.sqrt(count) / 2
    low = max(math.floor(count / 2 - reach), 0)
    high = min(math.ceil(count / 2 + reach), count - 1)
    return ordered[low], ordered[high]


def _warm_up(take: TimedRunner, plan: Plan) -> tuple[int, bool]:
    runs: list[TimedRun] = []
    while len(runs) < plan.warmup or not _is_stable([run.ms for run in runs], plan.tolerance):
        spent = sum(run.spent_ms for run in runs)
        if len(runs) >= plan.warmup and spent >= 1000.0 * plan.warmup_seconds:
            return len(runs), False
        runs.append(take())
    return len(runs), True


def _is_stable(times: Sequence[float], tolerance: float) -> bool:
    if len(times) < 2 * _WINDOW:
        return False
    before = statistics.median(times[-2 * _WINDOW : -_WINDOW])
    now = statistics.median(times[-_WINDOW:])
    return abs(now - before) <= tolerance * before
