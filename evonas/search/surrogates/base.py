"""Surrogates: regression models of one objective, fitted to a few hundred points.

N observations, P points, D features, S deviations.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.stats import kendalltau

Predict = Callable[[np.ndarray], np.ndarray]


@runtime_checkable
class Surrogate(Protocol):
    """A regression model.

    `fit` takes (N, D) features, (N,) finite values and a seed, and returns a function from (P, D) features to
    (P,) predictions in the unit of the values. It is a pure function of its arguments. N is at least 2 and may
    be smaller than D.
    """

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict: ...


class Posterior:
    """Posterior of one objective at P points that are independent of one another.

    Args:
        mean: (P,) means on the modelled scale.
        deviation: (P,) standard deviations of observations on the modelled scale, noise included.
        inverse: increasing map from the modelled scale to values of the objective; None for the identity.
    """

    def __init__(
        self,
        mean: np.ndarray,
        deviation: np.ndarray,
        inverse: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self._mean, self._deviation, self._inverse = mean, deviation, inverse

    def values_at(self, deviations: np.ndarray) -> np.ndarray:
        """(P, S) values at (S,) standard deviations from the mean."""
        modelled = self._mean[:, None] + self._deviation[:, None] * deviations
        return modelled if self._inverse is None else self._inverse(modelled)

    def median(self) -> np.ndarray:
        """(P,) posterior medians."""
        return np.asarray(self.values_at(np.zeros(1))[:, 0])

    def condition_on(self, at: int) -> None:
        """Condition on point `at`, observed at its mean; independent points do not change."""


class CorrelatedPosterior(Posterior):
    """Joint posterior of one objective at P points.

    Args:
        mean: (P,) means on the modelled scale.
        covariance: (P, P) covariance on the modelled scale, without observation noise.
        noise: variance of the observation noise.
        inverse: see `Posterior`.
    """

    def __init__(
        self,
        mean: np.ndarray,
        covariance: np.ndarray,
        noise: float,
        inverse: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self._covariance, self._noise = covariance.copy(), noise
        super().__init__(mean, self._deviations(), inverse)

    def condition_on(self, at: int) -> None:
        """Condition on point `at`, observed at its mean: the variance of correlated points shrinks."""
        column = self._covariance[:, at]
        total = float(column[at]) + self._noise
        if total > 0:
            self._covariance -= np.outer(column, column) / total
            self._deviation = self._deviations()

    def _deviations(self) -> np.ndarray:
        return np.asarray(np.sqrt(np.maximum(np.diag(self._covariance), 0.0) + self._noise))


class FittedSurrogate(Protocol):
    """A surrogate fitted to observations.

    `posterior` takes the features of P points, (P, D) per view, and returns their posterior. With `joint`, it
    contains the covariance of the points, if the surrogate models one.
    """

    def posterior(self, views: Sequence[np.ndarray], joint: bool = False) -> Posterior: ...


class ProbabilisticSurrogate:
    """Base class of surrogates that estimate their uncertainty and read several views (encodings)."""

    def fit_views(self, views: Sequence[np.ndarray], values: np.ndarray, seed: int) -> FittedSurrogate:
        """Fit to (N,) finite values at (N, D) features of every view."""
        raise NotImplementedError

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """See `Surrogate`; predicts the posterior median from a single view."""
        fitted = self.fit_views([features], values, seed)
        return lambda asked: fitted.posterior([asked]).median()


def kendall_tau(predicted: np.ndarray, found: np.ndarray) -> float:
    """Kendall's tau-b of two (N,) vectors; 0 if one of them is constant, -1 if a prediction is not finite.

    Kendall, "The treatment of ties in ranking problems", 1945.
    """
    if not np.isfinite(predicted).all():
        return -1.0
    if len(found) < 2 or np.ptp(predicted) == 0 or np.ptp(found) == 0:
        return 0.0
    return float(kendalltau(predicted, found).statistic)
