"""Searches side by side: one box, one front, and the settings that differ."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tables_written

from evonas.errors import UserError
from evonas.report.facts import Facts
from evonas.stages.comparison import compared, differences

SEARCH = ("+task=nb201", "stage=search", "budget.evaluations=16", "search=random", "hardware.engine=inline")


def facts(
    points: list[tuple[float, float]], reference: tuple[float, float] = (4.0, 4.0), **about: object
) -> Facts:
    names = tuple(f"g{at}" for at in range(len(points)))
    identity = {"task": "toy", "fingerprints": {"shared": "f"}, **about}
    return Facts(
        ("error", "macs"), names, np.array(points, dtype=float), reference=reference, identity=identity
    )


LEFT = facts([(3.0, 1.0), (2.0, 2.0), (3.0, 3.0)])
RIGHT = facts([(1.0, 3.0), (2.0, 2.0), (3.5, 1.5)])


def test_one_box_and_one_front() -> None:
    found = compared({"left": LEFT, "right": RIGHT})
    assert found.is_own_box and found.box.reference == (4.0, 4.0)
    left, right = found.sides
    assert (left.points, left.front_size, left.common) == (3, 2, 2)
    assert (right.points, right.front_size, right.common) == (3, 3, 2)
    # of 16: columns of 1 x 2 + 1 x 3, and 0.5 x 2.5 + 1.5 x 2 + 1 x 1
    assert left.hypervolume == pytest.approx(5 / 16)
    assert right.hypervolume == pytest.approx((0.5 * 2.5 + 1.5 * 2 + 1) / 16)
    assert [(list(each.runs), each.genotype) for each in found.front] == [
        (["right"], "g0"),
        (["left", "right"], "g1"),
        (["left"], "g0"),
    ]
    assert found.coverage == {("left", "right"): pytest.approx(1 / 3), ("right", "left"): 0.0}


def test_who_is_better_within_which_cost() -> None:
    found = compared({"left": LEFT, "right": RIGHT})
    told = [(each.limit, each.errors["left"], each.errors["right"], each.better) for each in found.budgets]
    assert told == [(1.0, 3.0, None, "left"), (2.0, 2.0, 2.0, ""), (3.0, 2.0, 1.0, "right")]


def test_different_boxes_are_joined_and_said() -> None:
    wide = facts([(1.0, 3.0)], reference=(2.0, 8.0))
    found = compared({"left": LEFT, "wide": wide})
    assert not found.is_own_box and found.box.reference == (4.0, 8.0)
    assert found.sides[1].hypervolume == pytest.approx(3 * 5 / 32)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (facts([(1.0, 1.0)], task="another"), "task toy and another"),
        (
            Facts(("error", "ms"), ("g",), np.ones((1, 2)), reference=(2.0, 2.0), identity=LEFT.identity),
            "'ms'",
        ),
        (Facts(LEFT.names, (), np.empty((0, 2)), identity=LEFT.identity), "no reference point yet"),
    ],
)
def test_other_questions_are_refused(other: Facts, said: str) -> None:
    with pytest.raises(UserError, match=said):
        compared({"left": LEFT, "other": other})


def test_another_device_is_doubted() -> None:
    here = facts([(1.0, 1.0)], fingerprints={"exclusive": "here"})
    there = facts([(1.0, 1.0)], fingerprints={"exclusive": "there"})
    [warning] = compared({"here": here, "there": there}).warnings
    assert "latency" in warning
    assert not compared({"here": here, "again": here}).warnings


def test_settings_that_differ_have_dotted_keys() -> None:
    one, other = {"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"b": 3, "c": [1]}, "e": {}}
    assert differences({"x": one, "y": other}) == {
        "a.b": {"x": 1, "y": 3},
        "d": {"x": 2, "y": None},
        "e": {"x": None, "y": {}},
    }


@pytest.fixture
def searched(evonas_command: Callable, tmp_path: Path) -> Callable:
    tables_written.nb201(tmp_path / "tables")
    for name, seed in (("first", 0), ("second", 1)):
        ended = evonas_command(*SEARCH, f"data.root={tmp_path / 'tables'}", f"seed={seed}", f"run={name}")
        assert ended.code == 0, ended.err
    return evonas_command


def kept(folder: Path) -> list[Path]:
    """Every file but those that SQLite lays beside an archive that somebody looks at."""
    return sorted(path for path in folder.rglob("*") if not path.name.endswith(("-shm", "-wal")))


def test_the_command_prints_and_writes(searched: Callable, tmp_path: Path) -> None:
    before = kept(tmp_path)
    ended = searched("compare", "runs=[first,second]")
    assert ended.code == 0, ended.err
    assert "as each run recorded it" in ended.out and "common front" in ended.out
    assert "settings that differ" in ended.out and "seed" in ended.out and "budget" not in ended.out
    assert ended.out.splitlines()[-1].startswith("Next: python -m evonas report run=")
    assert kept(tmp_path) == before
    printed = json.loads(searched("compare", "runs=[first,second]", "stage.json=true").out)
    assert searched("compare", "runs=[second,last]").code == 2
    assert searched("compare", "runs=[first,last]", "stage.json=both.json").code == 0
    assert json.loads(Path("both.json").read_text()) == printed
    assert [each["run"] for each in printed["runs"]] == ["first", "second"]
    best = [(point["objectives"]["error"], point["objectives"]["flops"]) for point in printed["front"]]
    assert best == sorted(best) and len(best) >= 2
    assert {each["of"] for each in printed["coverage"]} == {"first", "second"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "needs two different runs"),
        (["runs=[first,nobody]"], "There is no run 'first'"),
    ],
)
def test_wrong_runs_are_said(evonas_command: Callable, words: list[str], said: str) -> None:
    ended = evonas_command("compare", *words)
    assert ended.code == 2 and said in ended.err
