"""Two things timed in turn in one process, so that whatever else the machine does meets both."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Act = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        what: is measured.
        values: one a repetition.
        goal: what it should be, or that it is only reported.
        unit: of the values; nothing for a ratio.
        is_met: whether the goal is reached; None where there is none.
    """

    what: str
    values: Sequence[float]
    goal: str = "reported"
    unit: str = ""
    is_met: bool | None = None

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    def line(self) -> str:
        """As a row of Markdown."""
        spread = f"{min(self.values):.3g} to {max(self.values):.3g}"
        judged = {None: self.goal, True: f"{self.goal}: yes", False: f"{self.goal}: **no**"}[self.is_met]
        return f"| {self.what} | {self.median:.3g}{self.unit} ({spread}) | {judged} |"


def at_most(what: str, values: Sequence[float], limit: float) -> Row:
    """A row whose median must not be above `limit`."""
    return Row(what, values, f"<= {limit:g}", is_met=statistics.median(values) <= limit)


def at_least(what: str, values: Sequence[float], limit: float) -> Row:
    """A row whose median must not be below `limit`."""
    return Row(what, values, f">= {limit:g}", is_met=statistics.median(values) >= limit)


def seconds(act: Act) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def least(act: Act, repeats: int) -> float:
    """The shortest of several calls, after one that does not count."""
    act()
    return min(seconds(act) for _ in range(repeats))


def ratios(first: Act, second: Act, repeats: int, calls: int = 1) -> list[float]:
    """How many times the time of the second the first takes, in turns, each turn the shortest of `calls`."""
    first(), second()
    found = []
    for _ in range(repeats):
        pair = [min(seconds(act) for _ in range(calls)) for act in (first, second)]
        found.append(pair[0] / pair[1])
    return found


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """The slope of log time over log size by least squares: 1 is linear growth."""
    x, y = [math.log(size) for size in sizes], [math.log(each) for each in times]
    middle_x, middle_y = statistics.fmean(x), statistics.fmean(y)
    products = sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True))
    return products / sum((a - middle_x) ** 2 for a in x)
