"""Surrogates learn, interpolate, switch, and never need more than they are given."""

import time

import numpy as np
import pytest

from evonas.errors import UserError
from evonas.search.surrogates.base import Predict, Surrogate, kendall_tau
from evonas.search.surrogates.encoding import GenotypeEncoding
from evonas.search.surrogates.mlp import MLP
from evonas.search.surrogates.model_selection import AdaptiveSwitching
from evonas.search.surrogates.pairwise_ranker import PairwiseRanker
from evonas.search.surrogates.rank_transform import NormalScores
from evonas.search.surrogates.rbf import GP, RBF
from evonas.search.surrogates.trees import Boosting, CARTs
from evonas.space.declared import declared_space
from evonas.space.genotype import Genotype
from evonas.supernets.evonet.space import evonet_space

SURROGATES: dict[str, Surrogate] = {
    "rbf": RBF(),
    "gp": GP(),
    "carts": CARTs(60),
    "boosting": Boosting(60),
    "mlp": MLP((32,), epochs=200),
    "ranker": PairwiseRanker(1500),
    "scores": NormalScores(RBF()),
    "switching": AdaptiveSwitching({"rbf": RBF(), "ranker": PairwiseRanker(500)}, folds=3),
}


def problem(count: int, width: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points of a grid and a smooth function of them."""
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 4, (count, width)) / 3
    weights = np.linspace(0.5, 1.5, width)
    return features, 100 * np.exp(-(features @ weights) / width) + 3 * features[:, 0] * features[:, 1]


@pytest.mark.parametrize("surrogate", SURROGATES.values(), ids=SURROGATES)
class TestSurrogateContract:
    """Holds for all of them."""

    def test_it_ranks_points_it_never_saw(self, surrogate: Surrogate) -> None:
        features, values = problem(160)
        predicted = surrogate.fit(features[:100], values[:100], 0)(features[100:])
        assert predicted.shape == (60,)
        assert kendall_tau(predicted, values[100:]) > 0.45

    def test_fitting_is_a_pure_function(self, surrogate: Surrogate) -> None:
        features, values = problem(40)
        first, second = (surrogate.fit(features, values, 3)(features) for _ in range(2))
        assert np.array_equal(first, second)

    @pytest.mark.parametrize("count", [2, 3, 5, 12])
    def test_it_copes_with_fewer_facts_than_features(self, surrogate: Surrogate, count: int) -> None:
        features, values = problem(count)
        assert np.isfinite(surrogate.fit(features, values, 0)(features)).all()

    def test_it_copes_with_values_and_features_that_do_not_vary(self, surrogate: Surrogate) -> None:
        features, values = problem(30)
        features[:, 3] = 1.0
        predicted = surrogate.fit(features, np.full_like(values, 7.0), 0)(features)
        assert predicted == pytest.approx(np.full(30, 7.0), abs=1e-3)


def test_the_interpolant_passes_through_every_fact() -> None:
    features, values = problem(200)
    distinct, at = np.unique(features, axis=0, return_index=True)
    assert RBF().fit(distinct, values[at], 0)(distinct) == pytest.approx(
        values[at], abs=1e-8 * np.ptp(values)
    )


def worded(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Six words of five as columns, each once, and which word every gene holds."""
    drawn = np.random.default_rng(seed).permutation(5**6)[:count]
    genes = np.column_stack([drawn // 5**at % 5 for at in range(6)])
    return np.eye(5)[genes].reshape(count, 30), genes


def test_the_interpolant_reads_a_sum_over_words_exactly() -> None:
    features, genes = worded(160)
    costs = np.random.default_rng(1).random((6, 5))
    values = costs[np.arange(6), genes].sum(axis=1)
    predicted = RBF().fit(features[:60], values[:60], 0)(features[60:])
    assert predicted == pytest.approx(values[60:], abs=1e-6)


def test_scores_pass_through_every_fact_and_tell_good_points_apart_despite_terrible_ones() -> None:
    features, genes = worded(600)
    values = 5 + (genes == 0).sum(axis=1) + 0.3 * genes[:, 1] + 80.0 * (genes[:, 2] == 4)
    known, asked = slice(0, 150), slice(150, 600)
    predict = NormalScores(RBF()).fit(features[known], values[known], 0)
    assert predict(features[known]) == pytest.approx(values[known], abs=1e-6)
    good = values[asked] < 80
    raw = RBF().fit(features[known], values[known] ** 2, 0)(features[asked])
    scored = NormalScores(RBF()).fit(features[known], values[known] ** 2, 0)(features[asked])
    assert kendall_tau(scored[good], values[asked][good]) > 0.6
    assert kendall_tau(scored[good], values[asked][good]) > kendall_tau(raw[good], values[asked][good])


class Echo:
    """Predicts whatever the first feature says."""

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        del features, values, seed
        return lambda asked: asked[:, 0]


def test_scores_go_on_straight_beyond_the_facts() -> None:
    asked = np.array([[-9.0], [-1.0], [0.0], [1.0], [9.0]])
    predicted = NormalScores(Echo()).fit(np.zeros((3, 1)), np.array([1.0, 2.0, 40.0]), 0)(asked)
    # three ranks have the scores -q, 0, q with q the upper quartile
    quartile = 0.6744897501960817
    rise, steep = 1 / quartile, 38 / quartile
    assert predicted == pytest.approx([2 - 9 * rise, 2 - rise, 2, 2 + steep, 2 + 9 * steep])


class Planted:
    """Predicts the truth, or its opposite on some points."""

    def __init__(self, weight: float) -> None:
        self._weight = weight

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        del features, values, seed
        return lambda asked: asked[:, 0] + self._weight * asked[:, 1]


def test_switching_takes_the_largest_mean_tau_minus_its_deviation() -> None:
    rng = np.random.default_rng(0)
    features = rng.random((90, 2))
    candidates = {"noisy": Planted(1.0), "right": Planted(0.0), "worse": Planted(5.0)}
    switching = AdaptiveSwitching(candidates, folds=9)
    scores = switching.scores(features, features[:, 0], 0)
    parts = np.array_split(np.random.default_rng(0).permutation(90), 9)
    for name, candidate in candidates.items():
        predict = candidate.fit(features, features[:, 0], 0)
        taus = [kendall_tau(predict(features[part]), features[part, 0]) for part in parts]
        assert scores[name] == pytest.approx(np.mean(taus) - np.std(taus))
    assert max(scores, key=lambda name: scores[name]) == "right"
    assert np.array_equal(switching.fit(features, features[:, 0], 0)(features), features[:, 0])


def test_switching_needs_candidates() -> None:
    with pytest.raises(UserError, match="got 0 candidates"):
        AdaptiveSwitching({})


@pytest.mark.slow
@pytest.mark.parametrize(
    "surrogate",
    [RBF(), GP(), CARTs(), Boosting(), MLP(), PairwiseRanker()],
    ids=["rbf", "gp", "carts", "boosting", "mlp", "ranker"],
)
def test_fitting_a_whole_search_takes_five_seconds_at_most(surrogate: Surrogate) -> None:
    features, values = problem(380, width=46)
    began = time.process_time()
    surrogate.fit(features[:340], values[:340], 0)(features[340:])
    assert time.process_time() - began <= 5.0


def test_rank_agreement_is_kendalls() -> None:
    assert kendall_tau(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])) == pytest.approx(1 / 3)
    assert kendall_tau(np.array([1.0, 1.0]), np.array([1.0, 2.0])) == 0.0


def test_features_tell_an_absent_block_from_a_small_one_and_words_apart() -> None:
    space = declared_space(
        "cond",
        {"k1": {"choices": [3, 5, 7], "expressed_by": "d1.1"}, "o1": ["conv", "pool", "skip"], "w1": [1, 2]},
        {"d1": {"length": 2, "minimum": 0}},
    )
    points = [Genotype("cond", genes) for genes in ((0, 0, 0, 0, 0), (0, 1, 1, 1, 0), (2, 2, 1, 1, 1))]
    rows = GenotypeEncoding(space)(points)
    assert rows[:, 0].tolist() == pytest.approx([0.0, 1 / 3, 1.0])
    assert rows[:, 1:4].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert rows[:, 4:].tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_features_are_distinct_for_distinct_points() -> None:
    space = evonet_space()
    rng = np.random.default_rng(0)
    points = list({space.sample(rng) for _ in range(300)})
    assert len(np.unique(GenotypeEncoding(space)(points), axis=0)) == len(points)
