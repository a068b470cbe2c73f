"""A surrogate that learns ranks instead of values, so that a few terrible points do not govern the fit.

The values' ranks become normal scores (van der Waerden, "Order tests for the two-sample problem",
1952); predictions are turned back through the same facts. N facts, Q points.
"""

import numpy as np
from scipy.stats import norm, rankdata

from evonas.search.surrogate import Predict, Surrogate


class NormalScores:
    """For objectives whose interesting values lie close together and whose others lie far off, as errors do.

    Args:
        surrogate: learns the scores.
    """

    def __init__(self, surrogate: Surrogate) -> None:
        self._surrogate = surrogate

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """Fit the scores; between facts predictions are interpolated, beyond them they go on straight."""
        known = np.unique(values)
        if len(known) < 2:
            constant = float(values.mean())
            return lambda asked: np.full(len(asked), constant)
        scores = norm.ppf(rankdata(values) / (len(values) + 1))
        predict = self._surrogate.fit(features, scores, seed)
        heights = np.unique(scores)
        return lambda asked: _through(heights, known, predict(asked))


def _through(scores: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """(Q,) the line through rising points, its first and last slope kept beyond them."""
    inside = np.interp(asked, scores, values)
    low, high = (np.diff(values[at]) / np.diff(scores[at]) for at in (slice(None, 2), slice(-2, None)))
    below = np.minimum(asked - scores[0], 0.0) * low
    above = np.maximum(asked - scores[-1], 0.0) * high
    return np.asarray(inside + below + above)
