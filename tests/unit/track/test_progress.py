"""Progress: what a person sees on a terminal and away from one."""

import io

import pytest

from evonas.track.console import heading
from evonas.track.progress import Pace, Progress, human_time


class Clock:
    """A monotonic clock that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1.0, "0.0 s"),
        (0.04, "0.0 s"),
        (4.24, "4.2 s"),
        (9.96, "10 s"),
        (59.7, "1 min"),
        (65, "1 min 5 s"),
        (3599.8, "1 h"),
        (4320, "1 h 12 min"),
        (86399, "1 d"),
        (4 * 3600 + 3 * 86400, "3 d 4 h"),
    ],
)
def test_times_read_as_people_say_them(seconds: float, text: str) -> None:
    assert human_time(seconds) == text


def test_without_a_terminal_lines_are_rare_and_plain() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress("Search", 100, "evaluation", stream, clock) as progress:
        for _ in range(100):
            clock.now += 1.0
            progress.advance(error=0.25)
    lines = stream.getvalue().splitlines()
    assert lines == [
        "Search: 30/100 evaluations (30%), 1 evaluations/s, 1 min 10 s left, error 0.25",
        "Search: 60/100 evaluations (60%), 1 evaluations/s, 40 s left, error 0.25",
        "Search: 90/100 evaluations (90%), 1 evaluations/s, 10 s left, error 0.25",
        "Search: 100 evaluations in 1 min 40 s, error 0.25",
    ]
    assert not set("\r\x1b") & set(stream.getvalue())


def test_nested_levels_share_the_silence() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress("Outer", 4, "round", stream, clock) as outer:
        for number in range(4):
            with outer.child(f"Inner {number}", 10) as inner:
                for _ in range(10):
                    clock.now += 1.0
                    inner.advance()
            outer.advance()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("Inner 2: 10/10")
    assert lines[-1] == "Outer: 4 rounds in 40 s"


def test_an_interruption_says_where_it_stopped() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), Progress("Retrain", 10, "epoch", stream, Clock()) as progress:
        progress.advance(3)
        raise KeyboardInterrupt
    assert stream.getvalue() == "Retrain: 3/10 epochs (30%) stopped after 0.0 s\n"


def test_notes_and_titles_are_printed_as_they_are() -> None:
    stream = io.StringIO()
    heading("Stage [red]search", stream)
    with Progress("T", None, stream=stream) as progress:
        progress.note("hv [bold]0.5[/bold] " + "x" * 200)
    assert stream.getvalue().splitlines()[:2] == ["Stage [red]search", "hv [bold]0.5[/bold] " + "x" * 200]


def test_a_terminal_gets_one_bar_a_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Progress("Outer [x]", 2, stream=stream) as outer:
        with outer.child("Inner", 2) as inner:
            inner.advance(loss=0.5)
        outer.note("a note")
        outer.advance()
    shown = stream.getvalue()
    assert "\x1b[" in shown and "Outer [x]" in shown and "Inner" in shown and "a note" in shown
    assert shown.rstrip().splitlines()[-1].startswith("Outer [x]: 1 step in")


def test_the_pace_forgets_slow_first_steps() -> None:
    pace = Pace(0.0)
    pace.add(1000.0, 1)
    for step in range(2, 62):
        pace.add(1000.0 + step, step)
    assert pace.rate == pytest.approx(1.0)
    assert pace.remaining(120) == pytest.approx(120.0)


def test_an_unknown_pace_predicts_nothing() -> None:
    assert Pace(0.0).remaining(5) is None
