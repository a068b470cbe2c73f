"""Choices on a front of five points, as NSGANetV2's post-search made them (its tool was run on it)."""

import numpy as np
import pytest

from evonas.errors import UserError
from evonas.report.results import SearchResults
from evonas.report.selection.preference import achievement, tradeoff
from evonas.report.selection.rules import choose

POINTS = np.array([(18, 600), (19, 450), (20, 300), (22, 250), (25, 200)], dtype=float)
FRONT = SearchResults(("error", "flops"), tuple("abcde"), POINTS)


def rows(*rules: str) -> list[int]:
    return [choice.row for choice in choose(FRONT, rules)]


@pytest.mark.parametrize(
    ("wish", "values"), [((20, 150), [4, 3, 2, 5 / 3, 4 / 3]), ((20, 300), [2, 1.5, 1, 1.1, 1.25])]
)
def test_achievement(wish: tuple[float, float], values: list[float]) -> None:
    assert achievement(POINTS, np.array(wish, dtype=float)).tolist() == pytest.approx(values)


def test_wishes_choose_whatever_their_order() -> None:
    assert rows("asf:error=20,flops=150") == rows("asf: flops=150, error=20") == [4]
    assert rows("asf:error=20,flops=300") == [2]
    assert rows("asf:error=20") == [0], "what is not wished for does not count"


def test_tradeoffs_in_their_order() -> None:
    assert np.argmax(tradeoff(POINTS)) == 2
    assert rows("tradeoff") == rows("tradeoff:1") == [2]
    assert set(rows("tradeoff:2")) == {3, 2}
    assert set(rows("tradeoff:3")) == {1, 3, 2}
    names = [choice.name for choice in choose(FRONT, ["tradeoff:2"])]
    assert names == ["tradeoff1", "tradeoff2"]


def test_tradeoff_does_not_change_with_units() -> None:
    scaled = POINTS * np.array([0.01, 1e6]) + np.array([5.0, -3.0])
    np.testing.assert_allclose(tradeoff(scaled), tradeoff(POINTS))


def test_a_front_of_one_point_is_its_own_choice() -> None:
    one = SearchResults(("error", "flops"), ("a",), POINTS[:1])
    assert [choice.row for choice in choose(one, ["tradeoff", "knee", "asf:flops=1"])] == [0]


@pytest.mark.parametrize(
    ("budget", "row"),
    [("flops<=260", 3), ("error<=22&flops<=260", 3), ("error <= 22 & flops<=310", 2), ("flops<=1e9", 0)],
)
def test_budgets_may_be_joined(budget: str, row: int) -> None:
    assert rows(budget) == [row]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("error<=19&flops<=210", "No network fits all of the budget error<=19&flops<=210"),
        ("error<=19&flops<=100", "No network fits the budget flops<=100: the smallest flops found is 200"),
        ("asf:error=-1", "positive and finite, got error=-1"),
        ("asf:error=inf", "positive and finite, got error=inf"),
        ("asf:speed=1", "has no objective 'speed'"),
        ("asf:error", "unknown rule"),
        ("error<=1&", "unknown rule"),
    ],
)
def test_what_cannot_be_chosen_says_why(rule: str, said: str) -> None:
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        rows(rule)
