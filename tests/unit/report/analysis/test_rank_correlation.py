"""Ranking statistics: planted correlations are recovered, and costs that explain everything are exposed."""

import math

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from evonas.metric import known_metric
from evonas.report.analysis.rank_correlation import (
    Scores,
    agreement,
    ceiling,
    cost_bins,
    interval,
    ranking_statistics,
    regret,
    statistics,
    tau,
)
from evonas.report.page.tables import ranked


def planted(size: int, of: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two normal samples whose Kendall tau is `of` in the population: tau = 2/pi asin(rho)."""
    rho = math.sin(math.pi * of / 2)
    first = rng.standard_normal(size)
    return first, rho * first + math.sqrt(1 - rho**2) * rng.standard_normal(size)


def pairs(first: np.ndarray, second: np.ndarray, macs: np.ndarray) -> list[dict[str, float | str]]:
    rows = zip(first, second, macs, strict=True)
    return [
        {"genotype": f"g{row}", "inherited": a, "retrained": b, "macs": m, "params": 2 * m}
        for row, (a, b, m) in enumerate(rows)
    ]


def one_bin(first: np.ndarray, second: np.ndarray) -> Scores:
    return Scores(first, second, np.zeros(len(first), dtype=np.intp))


@pytest.mark.parametrize("of", [0.3, 0.6, 0.9])
def test_a_planted_tau_is_recovered_and_its_interval_covers_it(of: float) -> None:
    rng = np.random.default_rng(int(of * 10))
    found = [ranking_statistics(one_bin(*planted(20, of, rng)), rng, top=3) for _ in range(200)]
    assert np.mean([each["tau"] for each in found]) == pytest.approx(of, abs=0.05)
    assert np.mean([each["tau_low"] <= of <= each["tau_high"] for each in found]) >= 0.9


def test_tau_and_rho_are_those_of_scipy_with_ties() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 6, 30).astype(float)
    second = first + rng.integers(0, 6, 30)
    found = ranking_statistics(one_bin(first, second), rng, top=3)
    assert found["tau"] == pytest.approx(kendalltau(first, second).statistic)
    assert found["rho"] == pytest.approx(spearmanr(first, second).statistic)
    assert tau(first, -first) == pytest.approx(-1.0)


def test_resamples_are_those_of_drawing_networks() -> None:
    """The interval from multiplicities equals that of tau on drawn rows, up to the draws themselves."""
    rng = np.random.default_rng(1)
    first, second = planted(15, 0.5, rng)
    found = ranking_statistics(one_bin(first, second), rng, top=3)
    picks = rng.integers(15, size=(1000, 15))
    plain = interval(np.array([kendalltau(first[pick], second[pick]).statistic for pick in picks]))
    assert (found["tau_low"], found["tau_high"]) == pytest.approx(plain, abs=0.06)


def test_costs_that_explain_the_ranks_are_exposed_at_equal_cost() -> None:
    """Errors fall with MACs, and inside a bin the inherited error says nothing."""
    rng = np.random.default_rng(2)
    macs = np.repeat([1.0, 5.0, 9.0], 20) + 0.01 * rng.random(60)
    noise = rng.standard_normal((2, 60)) * 0.1
    found = statistics(pairs(10 - macs + noise[0], 10 - macs + noise[1], macs), rng)
    inherited = found["predictors"]["inherited"]
    assert found["bins"] == 3
    assert found["tau"] > 0.6 and found["tau_macs"] > 0.6
    assert abs(inherited["tau_at_cost"]) < 0.25
    assert inherited["tau_at_cost_low"] < 0 < inherited["tau_at_cost_high"]


def test_tau_at_equal_cost_looks_at_pairs_of_one_bin_only() -> None:
    scores = Scores(np.array([1.0, 2, 9, 8]), np.array([1.0, 2, 3, 4]), np.array([0, 0, 1, 1]))
    found = ranking_statistics(scores, np.random.default_rng(0), top=1)
    assert found["tau_at_cost"] == pytest.approx(0.0), "one pair agrees, one does not"
    assert found["tau"] == pytest.approx(4 / 6)


def test_regret_is_what_training_the_best_ranked_alone_loses() -> None:
    score, outcome = np.array([0.1, 0.2, 0.3, 0.4]), np.array([5.0, 4.0, 1.0, 2.0])
    assert [regret(score, outcome, top) for top in (1, 2, 3)] == [4.0, 3.0, 0.0]


def test_bins_are_of_equal_size_and_never_tiny() -> None:
    assert cost_bins(np.array([5.0, 1, 9, 2, 8, 3, 7]), 2).tolist() == [0, 0, 1, 0, 1, 0, 1]
    assert cost_bins(np.arange(5.0), 3).tolist() == [0] * 5, "two bins would have fewer than three"


def test_what_is_not_defined_is_none() -> None:
    same = pairs(np.ones(4), np.arange(4.0), np.arange(4.0))
    found = statistics(same, np.random.default_rng(0))
    assert found["tau"] is None and found["low"] is None
    assert found["tau_macs"] == pytest.approx(-1.0), "more MACs, larger error"
    old = [{key: pair[key] for key in pair if key != "params"} for pair in same]
    assert set(statistics(old, np.random.default_rng(0))["predictors"]) == {"inherited", "macs"}


def test_two_seeds_agree_on_what_they_share() -> None:
    first = pairs(np.arange(5.0), np.arange(5.0), np.arange(5.0))
    second = pairs(np.array([0.0, 1, 2, 4, 3, 9]), np.arange(6.0)[::-1], np.arange(6.0))
    nothing = {"common": 0, "inherited": None, "retrained": None, "ceiling": None}
    found = {"common": 5, "inherited": pytest.approx(0.8), "retrained": -1.0, "ceiling": 0.0}
    assert agreement(first, second) == found
    assert agreement(first, []) == nothing
    assert agreement(first, first)["ceiling"] == pytest.approx(1.0)


@pytest.mark.parametrize("trainings", [1, 2, 5])
@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_expected_errors_reach_the_ceiling(noise: float, trainings: int) -> None:
    rng = np.random.default_rng(trainings)
    expected = rng.standard_normal(2000)
    errors = expected + noise * rng.standard_normal((trainings + 1, 2000))
    reached = kendalltau(expected, errors[1:].mean(axis=0)).statistic
    assert ceiling(kendalltau(*errors[:2]).statistic, trainings) == pytest.approx(reached, abs=0.03)


def test_trainings_that_disagree_leave_no_score_anything() -> None:
    assert [ceiling(agreed, 2) for agreed in (-0.5, 0.0, 1.0)] == pytest.approx([0.0, 0.0, 1.0])


def test_the_report_puts_the_costs_beside_the_score() -> None:
    rng = np.random.default_rng(3)
    found = statistics(pairs(*planted(24, 0.6, rng), rng.random(24)), rng)
    table = ranked({"error_name": "abs_rel", **found}, known_metric("abs_rel"))
    assert [row[0] for row in table.rows] == ["inherited", "macs", "params"]
    assert table.columns[-1] == "regret of the best 3" and "AbsRel" in table.note
    assert " to " in table.rows[0][1]
    undefined = statistics(pairs(np.ones(4), np.arange(4.0), np.arange(4.0)), rng)
    assert ranked({"error_name": "abs_rel", **undefined}, known_metric("abs_rel")).rows[0][1] == "-"
