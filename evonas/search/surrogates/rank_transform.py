"""A surrogate that learns ranks instead of values, so that a few terrible points do not govern the fit.

The values' ranks become normal scores (van der Waerden, "Order tests for the two-sample problem",
1952); predictions are turned back through the same facts. N facts, Q points.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from evonas.search.surrogates.base import Predict, Surrogate


@dataclass(frozen=True)
class Ranks:
    """The way from values to scores and back.

    Args:
        scores: (N,) of the facts.
        heights: distinct scores, rising.
        known: the value at each height.
        tail: facts at either end that say how it goes on beyond them.
    """

    scores: np.ndarray
    heights: np.ndarray
    known: np.ndarray
    tail: int

    @classmethod
    def of(cls, values: np.ndarray, tail: int = 1) -> "Ranks":
        """From (N,) values, at least two of which differ."""
        scores = norm.ppf(rankdata(values) / (len(values) + 1))
        return cls(scores, np.unique(scores), np.unique(values), tail)

    def values(self, asked: np.ndarray) -> np.ndarray:
        """Scores of any shape as values: between facts interpolated, beyond them straight on."""
        last = min(self.tail, len(self.known) - 1)
        inside = np.interp(asked, self.heights, self.known)
        low, high = self._slope(0, last), self._slope(-1 - last, -1)
        below = np.minimum(asked - self.heights[0], 0.0) * low
        above = np.maximum(asked - self.heights[-1], 0.0) * high
        return np.asarray(inside + below + above)

    def _slope(self, first: int, last: int) -> float:
        return float((self.known[last] - self.known[first]) / (self.heights[last] - self.heights[first]))


class NormalScores:
    """For objectives whose interesting values lie close together and whose others lie far off, as errors do.

    Args:
        surrogate: learns the scores.
    """

    def __init__(self, surrogate: Surrogate) -> None:
        self._surrogate = surrogate

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """Fit the scores; between facts predictions are interpolated, beyond them they go on straight."""
        if len(np.unique(values)) < 2:
            constant = float(values.mean())
            return lambda asked: np.full(len(asked), constant)
        ranks = Ranks.of(values)
        predict = self._surrogate.fit(features, ranks.scores, seed)
        return lambda asked: ranks.values(predict(asked))
