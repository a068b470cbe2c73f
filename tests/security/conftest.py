"""Hostile samples are counted: each one is refused with a sentence, or is harmless, and leaves no trace."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evonas.errors import DataError, EvoNASError, UserError

SECRET = "SECRETxyz"
_MOST_LETTERS = 600


class Hostile:
    """One hostile sample: what is done with it, and what it may not do.

    Args:
        folder: the current folder, in which the sample lies and in which nothing may appear.
        note: is told `tried`, and then `refused` or `harmless`.
    """

    def __init__(self, folder: Path, note: Callable[[str], None]) -> None:
        self.folder, self.marker, self._note = folder, folder / "marker", note

    def refused(self, act: Callable[[], object]) -> EvoNASError:
        """The error that `act` raises, which is one sentence and comes before any effect."""
        before = self._begin()
        try:
            answer = act()
        except (UserError, DataError) as error:
            self._check(before, str(error))
            assert error.message.strip() and "\n" not in error.message, error.message
            assert len(error.message) < _MOST_LETTERS, error.message
            self._note("refused")
            return error
        raise AssertionError(f"it was accepted: {answer!r}")

    def harmless(self, act: Callable[[], object]) -> str:
        """What `act` answers, as text, where the sample is read and does nothing."""
        before = self._begin()
        answer = str(act())
        self._check(before, answer)
        self._note("harmless")
        return answer

    def _begin(self) -> dict[str, object]:
        self._note("tried")
        return self._state()

    def _check(self, before: dict[str, object], said: str) -> None:
        assert self._state() == before, "it had an effect"
        assert not self.marker.exists() and SECRET not in said

    def _state(self) -> dict[str, object]:
        """Every file, and whose code may run."""
        found = {str(path): path.lstat().st_mtime_ns for path in self.folder.rglob("*") if not path.is_dir()}
        return {**found, "packages": os.environ.get("EVONAS_PACKAGES")}


@pytest.fixture
def hostile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Hostile]:
    """A counted sample, in an empty folder and beside a planted secret."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    yield Hostile(tmp_path, lambda what: request.node.user_properties.append(("hostile", what)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many samples were tried, and what came of them."""
    found: Counter[str] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            if report.when == "call":
                found.update(what for name, what in report.user_properties if name == "hostile")
    if found["tried"]:
        effects = found["tried"] - found["refused"] - found["harmless"]
        terminalreporter.write_line(
            f"hostile samples: {found['tried']} tried, {found['refused']} refused, "
            f"{found['harmless']} read and harmless, {effects} with an effect"
        )
