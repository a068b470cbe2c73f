"""Killing the driver loses nothing and repeats at most what was in flight (R1, R2), and orphans nobody."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest
from trial import Trial

from evonas.randomness import generator

EVALUATIONS = 480


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """The search as it goes when nobody disturbs it."""
    trial = Trial(tmp_path_factory.mktemp("straight"))
    trial.go_on_here()
    return trial


def killed(folder: Path, kills: int, seed: int, *arguments: str) -> tuple[Trial, int]:
    """A trial killed at random moments until `kills` of them hit; every other kill takes the whole group."""
    trial = Trial(folder, arguments)
    moments = np.sort(generator(seed, "kills").integers(1, EVALUATIONS - 20, kills))
    hits = 0
    for index, moment in enumerate(moments):
        target = max(int(moment), len(trial.executions) + 1)
        hits += trial.kill_when(lambda target=target: len(trial.executions) >= target, index % 2 == 1)
        assert trial.gone(), "workers outlive their driver"
        assert trial.is_sound()
    return trial, hits


def check(trial: Trial, straight: Trial, kills: int, together: int = 1) -> None:
    """Nothing lost, nothing twice, bit-identical, and at most `kills x workers` passes repeated."""
    trial.go_on_here()
    rows = trial.rows()
    assert len(rows) == len(set(rows)) == EVALUATIONS
    assert trial.dump() == straight.dump()
    assert len(trial.executions) - EVALUATIONS <= 2 * kills * together
    assert trial.gone()


def test_straight_search_is_complete(straight: Trial) -> None:
    assert len(straight.executions) == straight.recorded == EVALUATIONS
    assert straight.gone(), "workers outlive a search that ended"


def test_three_kills(tmp_path: Path, straight: Trial) -> None:
    trial, hits = killed(tmp_path / "killed", kills=3, seed=0)
    assert hits == 3
    check(trial, straight, hits)


def test_interruption_leaves_a_whole_archive_and_no_process(tmp_path: Path, straight: Trial) -> None:
    trial = Trial(tmp_path / "interrupted")
    driver = trial.start()
    while len(trial.executions) < 100 and driver.poll() is None:
        time.sleep(0.01)
    driver.send_signal(signal.SIGINT)
    driver.communicate(timeout=60)
    assert driver.returncode not in (0, -signal.SIGKILL)
    assert trial.gone()
    assert trial.is_sound()
    check(trial, straight, kills=1)


@pytest.mark.slow
def test_kills_with_passes_over_several_genotypes(tmp_path: Path, straight: Trial) -> None:
    """What is repeated is what was in flight: at most `subnets_per_pass` by each worker."""
    trial, hits = killed(tmp_path / "killed", 2, 0, "--together", "6")
    assert hits == 2
    check(trial, straight, hits, together=6)


def test_an_asynchronous_search_keeps_what_was_told_before_each_kill(tmp_path: Path) -> None:
    trial = Trial(tmp_path / "killed", ("--evaluations", "120", "--in-flight", "6"))
    before: list[str] = []
    for moment, whole_group in ((30, False), (80, True)):
        assert trial.kill_when(lambda moment=moment: len(trial.executions) >= moment, whole_group)
        assert trial.gone() and trial.is_sound()
        recorded = trial.in_order_recorded()
        assert len(recorded) > len(before) and recorded[: len(before)] == before
        before = recorded
    trial.go_on_here()
    assert trial.in_order_recorded()[: len(before)] == before
    assert len(trial.in_order_recorded()) == len(set(trial.rows())) == 120
    assert len(trial.executions) - 120 <= 2 * 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_twenty_kills(tmp_path: Path, straight: Trial, seed: int) -> None:
    trial, hits = killed(tmp_path / "killed", kills=20, seed=seed)
    assert hits >= 18
    check(trial, straight, hits)
