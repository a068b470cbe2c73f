"""Surrogates: regression models of one objective, fitted to a few hundred points.

`fit` takes (N, D) features, (N,) finite values and a seed, and returns a function from (Q, D) features to
(Q,) predictions in the unit of the values. It is a pure function of its arguments. N is at least 2 and may be
smaller than D.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.stats import kendalltau

Predict = Callable[[np.ndarray], np.ndarray]


@runtime_checkable
class Surrogate(Protocol):
    """A regression model; the module's docstring states the contract."""

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict: ...


def kendall_tau(predicted: np.ndarray, found: np.ndarray) -> float:
    """Kendall's tau-b of two (N,) vectors; 0 if one of them is constant.

    Kendall, "The treatment of ties in ranking problems", 1945.
    """
    if len(found) < 2 or np.ptp(predicted) == 0 or np.ptp(found) == 0:
        return 0.0
    return float(kendalltau(predicted, found).statistic)
