"""Predictions that are not finite recommend no point."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from evonas.search.base import Observation
from evonas.search.baselines.ranked_pool import RankedPool
from evonas.search.history import History
from evonas.search.model_based.predictor import Predictor
from evonas.search.surrogates.base import kendall_tau
from evonas.space.declared import declared_space
from evonas.space.genotype import Genotype
from evonas.space.space import Space

SPACE = declared_space("toy", {"a": [1, 2, 3, 4], "b": [1, 2, 3]})
POINTS = list(SPACE.points())


def history() -> History:
    made = History(SPACE, 6, 12)
    asked = made.ask(POINTS[:6])
    made.tell([Observation(point, (float(at), 10.0 - at)) for at, point in enumerate(asked)])
    return made


class Sick:
    """A surrogate that knows no value for the first gene's last choice."""

    def __init__(self, value: float) -> None:
        self._value = value

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Callable:  # noqa: ARG002
        return lambda asked: np.where(asked[:, 0] == asked[:, 0].max(), self._value, values.mean())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_prediction_that_is_not_finite_is_the_worst_observed(value: float) -> None:
    def cheap(space: Space, genotype: Genotype) -> float:  # noqa: ARG001
        return value if genotype.genes[1] == 2 else float(genotype.genes[0])

    found = Predictor(history(), Sick(value), {1: cheap}, 0).predict(POINTS)
    assert np.isfinite(found).all()
    assert (found[[point.genes[0] == 3 for point in POINTS], 0] == 5).all()
    assert (found[[point.genes[1] == 2 for point in POINTS], 1] == 10).all()
    assert (found[[point.genes[0] != 3 for point in POINTS], 0] == 2.5).all()


def test_a_surrogate_without_finite_predictions_ranks_worst() -> None:
    assert kendall_tau(np.array([1.0, np.nan, 3.0]), np.arange(3.0)) == -1
    assert kendall_tau(np.array([1.0, np.inf, 3.0]), np.arange(3.0)) == -1
    assert kendall_tau(np.arange(3.0), np.arange(3.0)) == 1


def test_a_pool_leaves_points_without_a_score_for_last() -> None:
    def score(space: Space, genotype: Genotype) -> float:  # noqa: ARG001
        return math.nan if genotype.genes[0] < 3 else float(genotype.genes[1])

    pool = RankedPool(SPACE, seed=0, population=3, evaluations=3, score=score, pool=12)
    assert [point.genes for point in pool.ask()] == [(3, 0), (3, 1), (3, 2)]
