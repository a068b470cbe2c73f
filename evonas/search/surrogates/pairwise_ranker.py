"""Pairwise ranking surrogate: learns which of two points is better.

Bradley-Terry model with a score that is quadratic in each feature, fitted as logistic regression on feature
differences (Herbrich et al., "Large margin rank boundaries for ordinal regression", 2000). Pairwise
surrogates of architecture search: Xue et al., arXiv 2407.15600.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression

from evonas.search.surrogates.base import Predict


class PairwiseRanker:
    """Surrogate that is robust to outliers; predictions are scores, mapped to values by a linear fit.

    Args:
        pairs: number of random training pairs.
        strength: inverse regularisation strength (C of the logistic regression).
    """

    def __init__(self, pairs: int = 6000, strength: float = 10.0) -> None:
        self._pairs, self._strength = pairs, strength

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """See `Surrogate`; fits the score to pairs, then a linear map from scores to values."""
        rng = np.random.default_rng(seed)
        first, second = rng.integers(len(values), size=(2, self._pairs))
        differ = values[first] != values[second]
        if not differ.any():
            constant = float(values.mean())
            return lambda asked: np.full(len(asked), constant)
        first, second = first[differ], second[differ]
        given = _quadratic(features)
        # every pair in both orders, so that both classes occur
        steps = np.vstack([given[first] - given[second], given[second] - given[first]])
        is_worse = np.concatenate([values[first] > values[second], values[second] > values[first]])
        learnt = LogisticRegression(C=self._strength, fit_intercept=False, max_iter=300).fit(steps, is_worse)
        weights = learnt.coef_[0]
        slope, base = np.polyfit(given @ weights, values, 1)
        return lambda asked: np.asarray(_quadratic(asked) @ weights * max(slope, 1e-12) + base)


def _quadratic(features: np.ndarray) -> np.ndarray:
    return np.hstack([features, features**2])
