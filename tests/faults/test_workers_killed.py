"""Killing workers is invisible, and so are their number, their order and the hash seed (R3, R11, R13)."""

import argparse
import os
import random
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import driver
import pytest
from trial import Trial

from evonas.evaluate.local import LocalEngine

EVALUATIONS = 240


def options(folder: Path, *arguments: str) -> argparse.Namespace:
    folder.mkdir(exist_ok=True)
    # a random killer may meet the same job again, which real poison does every time
    words = [str(folder), "--tries", "12", "--evaluations", str(EVALUATIONS), "--seconds", "0.02"]
    return driver.options([*words, *arguments])


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """The search as it goes when nobody disturbs it."""
    trial = Trial(tmp_path_factory.mktemp("straight"), ("--evaluations", str(EVALUATIONS)))
    trial.go_on_here()
    return trial


class Killer:
    """Kills a random worker each time the search has made some progress, until it has killed enough."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, trial: Trial, kills: int, every: int) -> None:
        self.trial, self.kills, self.every, self.killed = trial, kills, every, 0
        self._rng = random.Random(0)
        self._engines: list[LocalEngine] = []
        self._over = threading.Event()
        original = LocalEngine.__init__

        def remembered(engine: LocalEngine, *args: object, **kwargs: object) -> None:
            original(engine, *args, **kwargs)  # type: ignore[arg-type]
            self._engines.append(engine)

        monkeypatch.setattr(LocalEngine, "__init__", remembered)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Killer":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while self.killed < self.kills and not self._over.wait(0.01):
            is_due = len(self.trial.executions) >= (self.killed + 1) * self.every
            pids = [pid for engine in self._engines for pid in engine.pids]
            if pids and is_due:
                with suppress(ProcessLookupError):
                    os.kill(self._rng.choice(pids), signal.SIGKILL)
                    self.killed += 1


def kill_workers(
    folder: Path,
    straight: Trial,
    monkeypatch: pytest.MonkeyPatch,
    kills: int,
    every: int,
    *arguments: str,
) -> None:
    trial = Trial(folder)
    with Killer(monkeypatch, trial, kills, every) as killer:
        digest = driver.run(options(folder, *arguments))
    assert killer.killed == kills
    assert digest == straight.go_on_here()
    assert {row[0] for row in trial.rows()} == {row[0] for row in straight.rows()}


def test_killing_workers_in_the_middle_of_a_pass_is_invisible(
    tmp_path: Path, straight: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = ("--together", "6")
    kill_workers(tmp_path / "killed", straight, monkeypatch, 4, 40, *together)


def test_killing_workers_does_not_stop_an_asynchronous_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "killed"
    trial = Trial(folder)
    with Killer(monkeypatch, trial, kills=4, every=40) as killer:
        driver.run(options(folder, "--in-flight", "6"))
    assert killer.killed == 4
    rows = trial.rows()
    assert len(rows) == len(set(rows)) == EVALUATIONS
    # a killed worker had one genotype, which another measured again
    assert len(trial.executions) - EVALUATIONS <= 4


def test_killing_workers_is_invisible(
    tmp_path: Path, straight: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_workers(tmp_path / "killed", straight, monkeypatch, kills=4, every=40)


@pytest.mark.slow
def test_killing_forty_workers_is_invisible(
    tmp_path: Path, straight: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_workers(tmp_path / "killed", straight, monkeypatch, kills=40, every=5)


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (("--workers", "1"), {"PYTHONHASHSEED": "1"}),
        (("--workers", "3"), {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C"}),
    ],
)
def test_same_seed_same_archive(
    tmp_path: Path, straight: Trial, arguments: Sequence[str], environment: dict[str, str]
) -> None:
    trial = Trial(tmp_path / "other", ("--evaluations", str(EVALUATIONS), *arguments), environment)
    trial.finish()
    assert trial.dump() == straight.dump()


def test_another_seed_is_another_search(tmp_path: Path, straight: Trial) -> None:
    trial = Trial(tmp_path / "other", ("--evaluations", "48", "--seed", "2"))
    trial.go_on_here()
    assert {row[0] for row in trial.rows()} - {row[0] for row in straight.rows()}


def test_nothing_is_evaluated_twice(straight: Trial) -> None:
    before = len(straight.executions)
    straight.go_on_here()
    assert len(straight.executions) == before == len(set(straight.executions)) == EVALUATIONS
