"""Fronts, hypervolume and choices on points whose answers are known by hand or by brute force."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evonas.errors import UserError
from evonas.report.metrics.hypervolume import curve, hypervolume
from evonas.report.metrics.pareto import front
from evonas.report.results import SearchResults, front_summary, gather
from evonas.report.selection.knee import knee, spread
from evonas.report.selection.rules import choose

# a bent front of seven points, one dominated point and one copy
BENT = [[9, 1], [6, 1.5], [3, 2], [2.2, 3.4], [1.6, 5], [1.3, 7], [1, 9], [7, 7], [3, 2]]


def facts(values: list[list[float]], names: tuple[str, ...] = ("error", "latency")) -> SearchResults:
    return SearchResults(names, tuple(f"g{row}" for row in range(len(values))), np.array(values, dtype=float))


points = st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=30)


@given(points)
@settings(max_examples=60, deadline=None)
def test_the_front_is_what_nothing_dominates(rows: list[tuple[int, int, int]]) -> None:
    values = np.array(rows, dtype=float)
    best = {
        row
        for row in rows
        if not any(all(a <= b for a, b in zip(other, row, strict=True)) and other != row for other in rows)
    }
    found = front(values)
    assert [tuple(values[row]) for row in found] == sorted(best)
    assert all(rows.index(rows[row]) == row for row in found)


@given(points)
@settings(max_examples=40, deadline=None)
def test_hypervolume_is_the_volume_counted_cell_by_cell(rows: list[tuple[int, int, int]]) -> None:
    values, reference = np.array(rows, dtype=float), np.array([5.0, 4.0, 3.0])
    cells = [(x, y, z) for x in range(5) for y in range(4) for z in range(3)]
    covered = sum(any(all(a <= b for a, b in zip(row, cell, strict=True)) for row in rows) for cell in cells)
    assert hypervolume(values, reference) == pytest.approx(covered / 60)


def test_the_hypervolume_curve_never_falls_and_ends_at_the_whole() -> None:
    values = np.random.default_rng(1).random((500, 2))
    counts, shares = curve(values, np.ones(2), samples=50)
    assert counts[0] == 1 and counts[-1] == 500 and len(counts) == 50
    assert all(a <= b + 1e-12 for a, b in pairwise(shares))
    assert shares[-1] == pytest.approx(hypervolume(values, np.ones(2)))


def test_nothing_dominates_nothing() -> None:
    assert len(front(np.empty((0, 2)))) == 0
    assert hypervolume(np.empty((0, 2)), np.ones(2)) == 0.0
    assert curve(np.empty((0, 2)), np.ones(2)) == ([], [])


def test_the_knee_is_where_the_front_bends() -> None:
    assert knee(np.array(BENT[:7])) == 2


def test_the_knee_survives_objectives_that_agree() -> None:
    values = np.array([[1, 5, 50], [2, 2, 20], [5, 1, 10]], dtype=float)
    assert knee(values) == 1
    assert knee(np.array([[0.3, 4.0, 2.0]])) == 0


def test_spread_points_are_far_from_each_other_and_from_the_chosen() -> None:
    line = np.stack([np.arange(11.0), 10 - np.arange(11.0)], axis=1)
    assert spread(line, 3) == [0, 10, 5]
    assert sorted(spread(line, 2, [5])) == [0, 10]
    assert spread(line, 99, [3]) and len(set(spread(line, 99, [3]))) == 10


def test_each_rule_chooses_as_it_says() -> None:
    chosen = choose(facts(BENT), ["knee", "spread:2", "best:latency", "latency<=6", "latency <= 2"])
    assert [(choice.name, choice.row) for choice in chosen] == [
        ("knee", 2),
        ("spread1", 6),
        ("spread2", 0),
        ("budget", 4),
    ]
    assert chosen[2].reason == "far from the other choices along the front; also the best latency"
    assert chosen[0].reason == "the knee of the front; also the best error with latency<=2"


def test_names_stay_apart() -> None:
    chosen = choose(facts(BENT), ["latency<=1.2", "latency<=2.5", "best:error"])
    assert [(choice.name, choice.row) for choice in chosen] == [
        ("budget", 0),
        ("budget_2", 2),
        ("best_error", 6),
    ]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("latency<=0.5", "the smallest latency found is 1"),
        ("kneee", "unknown rule"),
        ("spread:0", "unknown rule"),
        ("best:power", "no objective 'power'"),
        ("latency<=fast", "must be a number"),
    ],
)
def test_a_rule_that_cannot_be_kept_says_why(rule: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        choose(facts(BENT), [rule])
    assert caught.value.hint


def test_an_empty_archive_offers_no_choice() -> None:
    empty = SearchResults(("error",), (), np.empty((0, 1)), failures={"timeout": 3})
    with pytest.raises(UserError, match="no finished evaluation to select") as caught:
        choose(empty, ["knee"])
    assert "3 evaluations failed" in caught.value.hint


def test_parts_come_together_and_failures_stay_out() -> None:
    rows = [
        ("a", {"error": 0.5}, ""),
        ("b", {"error": 0.4}, ""),
        ("c", None, "timeout"),
        ("a", {"latency": 3.0}, ""),
        ("b", None, "crash"),
        ("c", {"latency": 1.0}, ""),
        ("d", {"error": float("nan"), "latency": 1.0}, ""),
    ]
    found = gather(["latency", "error"], rows, units={"latency": "ms"}, reference=(10.0, 1.0))
    assert found.genotypes == ("a",) and found.values.tolist() == [[3.0, 0.5]]
    assert found.failures == {"timeout": 1, "crash": 1} and found.num_failed == 2
    assert [metric.label for metric in found.metrics] == ["latency (ms)", "error"]


def test_a_summary_reads_in_one_line() -> None:
    text = front_summary(replace(facts([[0.5, 2.0], [0.25, 4.0]]), reference=(1.0, 8.0)))
    assert text == "2 on the front, hypervolume 0.5000, best error 0.25, best latency 2"
