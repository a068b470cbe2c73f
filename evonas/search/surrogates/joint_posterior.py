"""Joint posterior of one objective over several candidates, and the multi-view Gaussian-process surrogate.

P candidates, N observations, S deviations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from evonas.search.surrogates.base import Predict
from evonas.search.surrogates.multi_view_gp import MultiViewPosterior, fit_multi_view_gp, refit_robust

# a linear model is accepted if its leave-one-out error is below this fraction of the standard deviation
_MAX_LINEAR_ERROR = 0.01
_RIDGE = 1e-6
# with a larger mean leverage, leave-one-out errors are meaningless
_MAX_LEVERAGE = 0.9
# keeps exp() finite
_MAX_LOG = 300.0


class BatchPosterior(Protocol):
    """Joint posterior of one objective over P candidates.

    `values_at` returns (P, S) values at (S,) standard deviations from the mean. `condition_on` conditions the
    posterior on the candidate with this index, observed at its mean: the mean stays, the variance of
    correlated candidates shrinks.
    """

    def values_at(self, deviations: np.ndarray) -> np.ndarray: ...

    def condition_on(self, at: int) -> None: ...


class CandidatePosterior(Protocol):
    """Posterior of all objectives over the candidates of a search; see `predictor.PredictiveDistribution`.

    A call returns marginals: (P, S, M) values of the candidates `rows` at (S, M) standard deviations from the
    mean. `joint` returns the joint posterior of each objective over the candidates `rows`.
    """

    def __call__(self, rows: np.ndarray, deviations: np.ndarray) -> np.ndarray: ...

    def joint(self, rows: np.ndarray) -> Sequence[BatchPosterior]: ...


class IndependentPosterior:
    """A `BatchPosterior` of independent candidates.

    Args:
        values_at: maps (S,) deviations to (P, S) values.
    """

    def __init__(self, values_at: Callable[[np.ndarray], np.ndarray]) -> None:
        self._values_at = values_at

    def values_at(self, deviations: np.ndarray) -> np.ndarray:
        return self._values_at(deviations)

    def condition_on(self, at: int) -> None:
        """Do nothing: the candidates are independent."""


class CorrelatedPosterior:
    """A `BatchPosterior` of a Gaussian process.

    Args:
        mean: (P,) posterior mean.
        covariance: (P, P) posterior covariance without observation noise.
        noise: variance of the observation noise.
        inverse: maps the modelled scale back to values of the objective.
    """

    def __init__(
        self,
        mean: np.ndarray,
        covariance: np.ndarray,
        noise: float,
        inverse: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        self._mean, self._covariance, self._noise, self._inverse = mean, covariance.copy(), noise, inverse

    def values_at(self, deviations: np.ndarray) -> np.ndarray:
        deviation = np.sqrt(np.maximum(np.diag(self._covariance), 0.0) + self._noise)
        return self._inverse(self._mean[:, None] + deviation[:, None] * deviations)

    def condition_on(self, at: int) -> None:
        """Rank-one downdate of the covariance by a noisy observation of candidate `at`."""
        column = self._covariance[:, at]
        total = float(column[at]) + self._noise
        if total > 0:
            self._covariance -= np.outer(column, column) / total


@dataclass(frozen=True)
class LogScale:
    """Log transform of an objective: log(value - offset).

    It weighs differences among the best values more than those among bad outliers.

    Args:
        offset: lies below the best observed value.
        is_identity: whether values are not transformed.
    """

    offset: float
    is_identity: bool

    @classmethod
    def of(cls, values: np.ndarray, step: float) -> "LogScale":
        """Fit to (N,) values: the offset lies `step` times (median - minimum) below the minimum.

        The transform is the identity if the median is the minimum.
        """
        distance = float(np.median(values) - values.min()) * step
        return cls(float(values.min()) - distance, distance <= 0)

    def transform(self, values: np.ndarray) -> np.ndarray:
        return values if self.is_identity else np.log(values - self.offset)

    def inverse(self, logs: np.ndarray) -> np.ndarray:
        return logs if self.is_identity else np.exp(np.minimum(logs, _MAX_LOG)) + self.offset


@dataclass(frozen=True)
class LogScalePosterior:
    """Multi-view Gaussian-process posterior on a log scale.

    Args:
        posterior: posterior on the log scale, from `views[first:]`.
        scale: the log scale.
        first: index of the first view that the posterior reads.
    """

    posterior: MultiViewPosterior
    scale: LogScale
    first: int

    def values_at(self, views: Sequence[np.ndarray], deviations: np.ndarray) -> np.ndarray:
        """(P, S) values at (S,) standard deviations from the mean, each candidate alone."""
        mean, deviation = self.posterior.predict(views[self.first :])
        return self.scale.inverse(mean[:, None] + deviation[:, None] * deviations)

    def joint(self, views: Sequence[np.ndarray]) -> BatchPosterior:
        """Joint posterior over P candidates."""
        used = views[self.first :]
        mean, covariance = self.posterior.predict(used)[0], self.posterior.covariance(used)
        return CorrelatedPosterior(mean, covariance, self.posterior.noise, self.scale.inverse)


@dataclass(frozen=True)
class LinearPosterior:
    """Linear model of an objective that is additive over genes; its variance is 0.

    Args:
        weights: (D + 1,) weights of the features of the first view, and the intercept.
    """

    weights: np.ndarray

    def values_at(self, views: Sequence[np.ndarray], deviations: np.ndarray) -> np.ndarray:
        """(P, S) predictions, equal at all deviations."""
        return np.repeat((_with_intercept(views[0]) @ self.weights)[:, None], len(deviations), axis=1)

    def joint(self, views: Sequence[np.ndarray]) -> BatchPosterior:
        """Joint posterior over P candidates."""
        return IndependentPosterior(lambda deviations: self.values_at(views, deviations))


class MultiViewGaussianProcess:
    """Surrogate: a linear model for additive objectives, else a Gaussian process on a sum of view kernels.

    The linear model is used if its leave-one-out error is below 1 % of the standard deviation of the values.
    Otherwise the Gaussian process is fitted with all views and without the first (the genes), since errors
    depend on the computed function; the fit with the larger posterior density is used.

    Args:
        steps: iterations of the optimiser of the hyperparameters.
        step: distance of the log scale's offset below the best value; see `LogScale.of`.
    """

    def __init__(self, steps: int = 20, step: float = 0.5) -> None:
        self._steps, self._step = steps, step

    def posterior(
        self, views: Sequence[np.ndarray], values: np.ndarray
    ) -> LogScalePosterior | LinearPosterior:
        """Posterior given (N,) values at N rows of every view."""
        weights, error = _fit_linear(views[0], values)
        if np.ptp(values) == 0 or error <= _MAX_LINEAR_ERROR * np.std(values):
            return LinearPosterior(weights)
        scale = LogScale.of(values, self._step)
        targets, starts = scale.transform(values), range(min(len(views), 2))
        found = [fit_multi_view_gp(views[first:], targets, self._steps) for first in starts]
        best = min(starts, key=lambda first: found[first].loss)
        return LogScalePosterior(refit_robust(found[best], targets, self._steps // 2), scale, best)

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """See `Surrogate`; predicts the posterior median."""
        del seed
        posterior, median = self.posterior([features], values), np.zeros(1)
        return lambda asked: posterior.values_at([asked], median)[:, 0]


def _fit_linear(features: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, float]:
    """Ridge regression: (D + 1,) weights and the standard deviation of the leave-one-out residuals.

    Leave-one-out by leverages: Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", 2009,
    eq. 7.64. The deviation is infinite if there are hardly more observations than weights.
    """
    rows = _with_intercept(features)
    inverse = np.linalg.inv(rows.T @ rows + _RIDGE * np.eye(rows.shape[1]))
    weights = inverse @ rows.T @ values
    leverage = np.einsum("ij,jk,ik->i", rows, inverse, rows)
    if leverage.mean() > _MAX_LEVERAGE:
        return weights, float("inf")
    return weights, float(np.std((values - rows @ weights) / np.maximum(1 - leverage, 1e-3)))


def _with_intercept(features: np.ndarray) -> np.ndarray:
    return np.hstack([features, np.ones((len(features), 1))])
