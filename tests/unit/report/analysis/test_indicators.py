"""Indicators on fronts whose values are known on paper; runs on different scales never meet."""

import math

import numpy as np
import pytest

from evonas.errors import UserError
from evonas.report.analysis.attainment import surfaces
from evonas.report.analysis.indicators import Scale, common_scale, indicators, scale_of
from evonas.report.metrics.hypervolume import hypervolume, to_unit
from evonas.report.results import SearchResults

UNIT = Scale(("a", "b"), (0.0, 0.0), (1.0, 1.0))


def facts(**changes: object) -> SearchResults:
    return SearchResults(("error", "flops"), ("g",), np.array([[1.0, 2.0]]), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bend", "exact"),
    [
        (lambda x: 1 - np.sqrt(x), 0.1 + 2 / 3 + 0.11),  # ZDT1, reference (1.1, 1.1)
        (lambda x: 1 - x**2, 0.1 + 1 / 3 + 0.11),  # ZDT2
    ],
)
def test_hypervolume_of_analytic_fronts(bend: object, exact: float) -> None:
    x = np.linspace(0, 1, 20_001)
    points = np.stack([x, bend(x)], axis=1)  # type: ignore[operator]
    assert hypervolume(points, (1.1, 1.1)) * 1.21 == pytest.approx(exact, abs=1e-4)


def test_hypervolume_of_a_ball() -> None:
    """DTLZ2 with three objectives, reference (1.1, 1.1, 1.1): 1.331 - pi / 6."""
    angles = np.stack(np.meshgrid(*[np.linspace(0, math.pi / 2, 60)] * 2), axis=-1).reshape(-1, 2)
    first, second = angles.T
    points = np.stack([np.cos(first) * np.cos(second), np.cos(first) * np.sin(second), np.sin(first)], axis=1)
    assert hypervolume(np.abs(points), (1.1,) * 3) * 1.331 == pytest.approx(1.331 - math.pi / 6, abs=0.02)


def test_the_ideal_moves_the_box() -> None:
    points = np.array([[10.0, 300.0], [20.0, 100.0]])
    assert hypervolume(points, (30.0, 500.0), (10.0, 100.0)) == pytest.approx(0.5 + 0.5 - 0.25)
    assert to_unit(points, (30.0, 500.0), (10.0, 100.0)).tolist() == [[0.0, 0.5], [0.5, 0.0]]
    # an objective that did not vary gives a box one unit wide
    assert hypervolume(np.array([[5.0, 1.0]]), (5.0, 2.0), (5.0, 0.0)) == pytest.approx(0.5)


def test_igd_plus_is_the_shortfall_from_the_exact_front() -> None:
    exact = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    perfect = indicators(exact, UNIT, exact)
    assert (perfect.igd_plus, perfect.front_size) == (0.0, 3)
    assert perfect.hypervolume == pytest.approx(0.25)
    # from (0.5, 0.75): to (0, 1) 0.5, to (0.5, 0.5) 0.25, to (1, 0) 0.75, each in one coordinate only
    one = indicators(np.array([[0.5, 0.75]]), UNIT, exact)
    assert one.igd_plus == pytest.approx((0.5 + 0.25 + 0.75) / 3)
    assert indicators(exact, UNIT).igd_plus is None


def test_a_scale_is_the_range_of_a_table_and_ignores_gaps() -> None:
    values = np.array([[1.0, 5.0], [np.nan, 7.0], [3.0, np.nan]])
    assert Scale.over(("a", "b"), values) == Scale(("a", "b"), (1.0, 5.0), (3.0, 7.0))


def test_runs_of_one_scale_meet_and_others_are_refused() -> None:
    same = scale_of(facts(reference=(3.0, 4.0)))
    assert same == Scale(("error", "flops"), (0.0, 0.0), (3.0, 4.0))
    assert common_scale({"one": same, "two": same}) == same
    other = scale_of(facts(reference=(3.0, 5.0)))
    with pytest.raises(UserError, match="Runs 'one' and 'two' have different scales: error 0 to 3"):
        common_scale({"one": same, "two": other})
    with pytest.raises(UserError, match="different scales"):
        common_scale({"one": same, "two": scale_of(facts(reference=(3.0, 4.0), ideal=(1.0, 1.0)))})
    with pytest.raises(UserError, match="no reference point yet"):
        scale_of(facts())


def test_attainment_on_two_runs_known_by_hand() -> None:
    first = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [3.0, 3.0]])
    second = np.array([[1.0, 4.0], [2.0, 3.0], [4.0, 1.0]])
    found = surfaces([first, second], levels=(0.0, 100.0))
    assert found[0.0].tolist() == [[1, 3], [2, 2], [3, 1]]
    assert found[100.0].tolist() == [[1, 4], [2, 3], [4, 1]]


@pytest.mark.parametrize("count", [3, 7])
def test_attainment_is_what_a_share_of_the_runs_reaches(count: int) -> None:
    rng = np.random.default_rng(count)
    runs = [rng.integers(0, 12, size=(6, 2)).astype(float) for _ in range(count)]
    found = surfaces(runs, levels=(0.0, 50.0, 100.0))
    for cell in rng.integers(0, 13, size=(200, 2)):
        share = sum((run <= cell).all(axis=1).any() for run in runs) / count
        for level, points in found.items():
            reached = bool((points <= cell).all(axis=1).any())
            assert reached == (share >= level / 100 and share > 0), (cell, level)


def test_a_run_without_a_point_attains_nothing() -> None:
    run, empty = np.array([[1.0, 1.0]]), np.empty((0, 2))
    found = surfaces([run, empty])
    assert found[50.0].tolist() == [[1, 1]] and len(found[100.0]) == 0
    with pytest.raises(UserError, match="needs a run with at least one point"):
        surfaces([empty])
    with pytest.raises(UserError, match="2 or 3 objectives, got 4"):
        surfaces([np.ones((1, 4))])
