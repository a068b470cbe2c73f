"""Rank transform of objective values to normal scores, which makes fits robust to outliers.

Normal scores: van der Waerden, "Order tests for the two-sample problem", 1952. N observations, Q points.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from evonas.search.surrogates.base import Predict, Surrogate


@dataclass(frozen=True)
class RankTransform:
    """Monotone map between values and normal scores.

    Args:
        scores: (N,) normal scores of the observations.
        knots: distinct scores, ascending.
        known: value at each knot.
        tail: number of knots at either end whose secant extrapolates beyond the observations.
    """

    scores: np.ndarray
    knots: np.ndarray
    known: np.ndarray
    tail: int

    @classmethod
    def of(cls, values: np.ndarray, tail: int = 1) -> "RankTransform":
        """Fit to (N,) values, at least two of which differ."""
        scores = norm.ppf(rankdata(values) / (len(values) + 1))
        return cls(scores, np.unique(scores), np.unique(values), tail)

    def values(self, asked: np.ndarray) -> np.ndarray:
        """Map scores of any shape to values by linear inter- and extrapolation."""
        last = min(self.tail, len(self.known) - 1)
        inside = np.interp(asked, self.knots, self.known)
        low, high = self._slope(0, last), self._slope(-1 - last, -1)
        below = np.minimum(asked - self.knots[0], 0.0) * low
        above = np.maximum(asked - self.knots[-1], 0.0) * high
        return np.asarray(inside + below + above)

    def _slope(self, first: int, last: int) -> float:
        return float((self.known[last] - self.known[first]) / (self.knots[last] - self.knots[first]))


class NormalScores:
    """Surrogate that fits another surrogate to normal scores, for objectives with outliers such as errors.

    Args:
        surrogate: surrogate of the scores.
    """

    def __init__(self, surrogate: Surrogate) -> None:
        self._surrogate = surrogate

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """See `Surrogate`; predictions are mapped back to values by `RankTransform.values`."""
        if len(np.unique(values)) < 2:
            constant = float(values.mean())
            return lambda asked: np.full(len(asked), constant)
        ranks = RankTransform.of(values)
        predict = self._surrogate.fit(features, ranks.scores, seed)
        return lambda asked: ranks.values(predict(asked))
