"""A killed race goes on where it was: its rungs are facts, and no fact is lost or measured twice."""

from pathlib import Path

import pytest
from trial import Trial

ARGUMENTS = ("--racing", "--together=4", "--population=16", "--evaluations=64")


@pytest.mark.parametrize("moments", [(3, 40, 70)])
def test_a_killed_race_ends_in_the_same_archive(tmp_path: Path, moments: tuple[int, ...]) -> None:
    straight = Trial(tmp_path / "straight", ARGUMENTS)
    digest = straight.go_on_here()
    assert 64 < straight.recorded == len(straight.executions)
    trial = Trial(tmp_path / "killed", ARGUMENTS)
    hits = 0
    for number, moment in enumerate(moments):
        hits += trial.kill_when(lambda moment=moment: len(trial.executions) >= moment, number % 2 == 1)
        assert trial.gone() and trial.is_sound()
    assert hits == len(moments)
    assert trial.go_on_here() == digest
    assert trial.dump() == straight.dump()
    # of each worker's pass over four genotypes
    assert len(trial.executions) - len(straight.executions) <= 2 * 4 * hits
