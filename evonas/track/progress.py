"""Progress display: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as RichProgress

from evonas.track.console import console, is_terminal

Clock = Callable[[], float]
QUIET_S = 30.0
RECENT = 50


def human_time(seconds: float) -> str:
    """Format seconds: `4.2 s`, `42 s`, `1 min 5 s`, `1 h 12 min`, `3 d 4 h`."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two(whole // 60, "min", whole % 60, "s")
    minutes = round(seconds / 60)
    if minutes < 1440:
        return _two(minutes // 60, "h", minutes % 60, "min")
    hours = round(seconds / 3600)
    return _two(hours // 24, "d", hours % 24, "h")


class Pace:
    """Rate and remaining time over the last 50 steps."""

    def __init__(self, now: float) -> None:
        self._recent: deque[tuple[float, int]] = deque([(now, 0)], maxlen=RECENT + 1)

    def add(self, now: float, done: int) -> None:
        """Record that `done` units are completed at time `now`."""
        self._recent.append((now, done))

    @property
    def rate(self) -> float:
        """Units per second; 0 if unknown."""
        (first, before), (last, after) = self._recent[0], self._recent[-1]
        return (after - before) / (last - first) if last > first else 0.0

    def remaining(self, units: int) -> float | None:
        """Estimated seconds for `units` more units; None if the rate is unknown."""
        return units / self.rate if self.rate > 0 else None


class Progress:
    """Progress of a long task; a context manager.

    On a terminal it shows a bar with rate and remaining time. Elsewhere it prints a line at most every 30 s and
    one at the end. Nested tasks use `child`.

    Args:
        title: title of the task, at the start of every line.
        total: number of units, or None if unknown.
        unit: name of a unit, in the singular.
        stream: output stream; standard output by default.
        clock: monotonic clock in seconds.
        parent: enclosing progress; set by `child`.
    """

    def __init__(
        self,
        title: str,
        total: int | None,
        unit: str = "step",
        stream: TextIO | None = None,
        clock: Clock = time.monotonic,
        parent: "Progress | None" = None,
    ) -> None:
        self.title, self.total, self.unit, self.done = title, total, unit, 0
        self._parent = parent
        self._stream: TextIO = stream or (parent._stream if parent else sys.stdout)
        self._clock: Clock = parent._clock if parent else clock
        self._started = self._last_line = self._clock()
        self._pace = Pace(self._started)
        self._values: dict[str, Any] = {}
        self._console: Console = parent._console if parent else console(self._stream)
        self._bar: RichProgress | None = parent._bar if parent else _bar(self._stream, self._console)
        self._row: Any = None

    def child(self, title: str, total: int | None, unit: str = "step") -> "Progress":
        """Progress of a nested task on the same stream; use it inside this object's `with` block."""
        return Progress(title, total, unit, parent=self)

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            if self._parent is None:
                self._bar.start()
            self._row = self._bar.add_task(self.title, total=self.total, note=self._count())
        return self

    def advance(self, n: int = 1, **values: Any) -> None:
        """Add `n` completed units; `values` (such as loss=0.12) are displayed."""
        self.done += n
        self._values.update(values)
        now = self._clock()
        self._pace.add(now, self.done)
        if self._bar is not None:
            self._bar.update(self._row, advance=n, note=f"{self._count()}, {self._beside()}")
        elif self._is_due(now):
            self._plain(f"{self.title}: {self._count()}, {self._beside()}")

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._touch(self._clock())
        self._plain(text)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.remove_task(self._row)
            if self._parent is None:
                self._bar.stop()
        if self._parent is None or self._is_due(self._clock()):
            self._plain(self._ending(stopped=kind is not None))

    def _is_due(self, now: float) -> bool:
        root = self._root()
        if now - root._last_line < QUIET_S:
            return False
        self._touch(now)
        return True

    def _touch(self, now: float) -> None:
        self._root()._last_line = now

    def _root(self) -> "Progress":
        return self._parent._root() if self._parent else self

    def _plain(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _count(self) -> str:
        if not self.total:
            return f"{self.done} {plural(self.unit, self.done)}"
        share = min(100, 100 * self.done // self.total)
        return f"{self.done}/{self.total} {plural(self.unit, self.total)} ({share}%)"

    def _beside(self) -> str:
        left = self._pace.remaining(max(0, self.total - self.done)) if self.total else None
        parts = [rate_text(self._pace.rate, self.unit)]
        parts += [f"{human_time(left)} left"] if left else []
        return ", ".join([*parts, *_shown(self._values)])

    def _ending(self, stopped: bool) -> str:
        took = human_time(self._clock() - self._started)
        verb = "stopped after" if stopped else "in"
        count = self._count() if stopped else f"{self.done} {plural(self.unit, self.done)}"
        return ", ".join([f"{self.title}: {count} {verb} {took}", *_shown(self._values)])


def rate_text(rate: float, unit: str) -> str:
    """Format a rate: `2.1 steps/s`, or `14 s/step` below one unit per second."""
    if rate <= 0:
        return f"- {unit}s/s"
    return f"{rate:.3g} {unit}s/s" if rate >= 1 else f"{human_time(1 / rate)}/{unit}"


def plural(unit: str, count: int) -> str:
    """The unit in the singular or plural."""
    return unit if count == 1 else f"{unit}s"


def _two(large: int, large_name: str, small: int, small_name: str) -> str:
    return f"{large} {large_name} {small} {small_name}" if small else f"{large} {large_name}"


def _shown(values: dict[str, Any]) -> list[str]:
    return [
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    ]


def _bar(stream: TextIO, console: Console) -> RichProgress | None:
    if not is_terminal(stream):
        return None
    title = TextColumn("{task.description}", markup=False)
    note = TextColumn("{task.fields[note]}", markup=False)
    return RichProgress(
        SpinnerColumn(), title, BarColumn(bar_width=24), note, console=console, transient=True
    )
