"""Gaussian-process regression with a sum of kernels over several views (encodings) of the points.

Each view contributes a squared exponential and a linear kernel with three hyperparameters of its own (sums of
kernels: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, section 4.2.4).
N observations, Q points, D features, V views.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

from evonas.search.surrogates.base import (
    CorrelatedPosterior,
    FittedSurrogate,
    Posterior,
    ProbabilisticSurrogate,
)
from evonas.search.surrogates.gp import cholesky, negative_log_likelihood

# deviations of the priors of a view's log amplitude, inverse length scale and slope; prior of the log noise
_SPREADS, _NOISE = (1.5, 1.0, 1.5), (-4.0, 3.0)
_BOUNDS, _NOISE_BOUNDS = (-12.0, 6.0), (-16.0, 1.0)
_JITTER = 1e-8
# degrees of freedom of `refit_robust`, and bounds of its noise factors
_FREEDOM, _WEIGHTS = 4.0, (0.5, 1e4)
# a linear model is accepted if its leave-one-out error is below this fraction of the standard deviation
_MAX_LINEAR_ERROR = 0.01
_RIDGE = 1e-6
# with a larger mean leverage, leave-one-out errors are meaningless
_MAX_LEVERAGE = 0.9
# keeps exp() finite
_MAX_LOG = 300.0


@dataclass(frozen=True)
class ViewStatistics:
    """Features of the observations in one view, with their mean and total variance."""

    features: np.ndarray
    mean: np.ndarray
    variance: float

    @classmethod
    def of(cls, features: np.ndarray) -> "ViewStatistics":
        """Compute from (N, D) features."""
        mean = features.mean(axis=0)
        return cls(features, mean, float(((features - mean) ** 2).sum(axis=1).mean()) + 1e-12)

    def compare(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(Q, R) squared distances and centred scalar products."""
        left, right = first - self.mean, second - self.mean
        products = left @ right.T
        distances = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * products
        return np.maximum(distances, 0.0), products


@dataclass(frozen=True)
class FittedMultiViewGP:
    """A multi-view Gaussian process conditioned on observations.

    Args:
        views: features of the observations, per view.
        theta: (3 V + 1,) log hyperparameters: amplitude, inverse length scale and slope of each view; noise.
        noise_factors: (N,) factor of each observation on the noise variance.
        factor: (N, N) lower Cholesky factor of the covariance of the observations.
        weights: (N,) inverse covariance times standardised values.
        centre: mean of the values.
        scale: standard deviation of the values.
        loss: negative log posterior density of the hyperparameters, comparable between views of the same
            observations.
    """

    views: Sequence[ViewStatistics]
    theta: np.ndarray
    noise_factors: np.ndarray
    factor: np.ndarray
    weights: np.ndarray
    centre: float
    scale: float
    loss: float

    @property
    def noise(self) -> float:
        """Variance of the observation noise, in squared units of the values."""
        return float(np.exp(self.theta[-1])) * self.scale**2

    def predict(self, asked: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(Q,) means and standard deviations of observations at (Q, D) features of every view."""
        parts = np.exp(self.theta[:-1]).reshape(-1, 3)
        shared, seen = self._projected(asked)
        own = sum(
            size + slope * ((view - stat.mean) ** 2).sum(axis=1)
            for stat, view, (size, _, slope) in zip(self.views, asked, parts, strict=True)
        )
        variance = np.maximum(own - (seen**2).sum(axis=0), 0.0) * self.scale**2 + self.noise
        return shared @ self.weights * self.scale + self.centre, np.sqrt(variance)

    def covariance(self, asked: Sequence[np.ndarray]) -> np.ndarray:
        """(Q, Q) posterior covariance without observation noise."""
        seen = self._projected(asked)[1]
        return np.asarray((self._between(asked, asked) - seen.T @ seen) * self.scale**2)

    def _projected(self, asked: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        shared = self._between(asked, [stat.features for stat in self.views])
        return shared, solve_triangular(self.factor, shared.T, lower=True)

    def _between(self, first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> np.ndarray:
        pairs = [each.compare(*rows) for each, *rows in zip(self.views, first, second, strict=True)]
        return _covariance(pairs, self.theta)


def fit_multi_view_gp(views: Sequence[np.ndarray], values: np.ndarray, steps: int) -> FittedMultiViewGP:
    """Fit a Gaussian process to (N,) values at (N, D) features of every view.

    Args:
        views: (N, D) features, per view.
        values: (N,).
        steps: iterations of the optimiser of the hyperparameters.
    """
    statistics = [ViewStatistics.of(view) for view in views]
    return _optimise(statistics, values, np.ones(len(values)), _prior(statistics)[0], steps)


def refit_robust(first: FittedMultiViewGP, values: np.ndarray, steps: int) -> FittedMultiViewGP:
    """Refit with larger noise for outliers, such as slow latency measurements.

    One step of expectation maximisation for Student's t noise (Lange, Little and Taylor, "Robust statistical
    modeling using the t distribution", 1989).
    """
    noise = np.exp(first.theta[-1])
    off = ((noise * first.noise_factors + _JITTER) * first.weights) ** 2 / noise
    noise_factors = np.clip((_FREEDOM + off) / (_FREEDOM + 1), *_WEIGHTS)
    return _optimise(first.views, values, noise_factors, first.theta, steps)


def _optimise(
    statistics: Sequence[ViewStatistics],
    values: np.ndarray,
    noise_factors: np.ndarray,
    start: np.ndarray,
    steps: int,
) -> FittedMultiViewGP:
    centre, scale = float(values.mean()), float(values.std()) or 1.0
    targets = (values - centre) / scale
    pairs = [stat.compare(stat.features, stat.features) for stat in statistics]
    prior = _prior(statistics)
    found = minimize(
        lambda theta: _negative_log_posterior(theta, pairs, targets, noise_factors, prior),
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[_BOUNDS] * (len(start) - 1) + [_NOISE_BOUNDS],
        options={"maxiter": steps},
    )
    whole = _covariance(pairs, found.x)
    whole[np.diag_indices(len(whole))] += np.exp(found.x[-1]) * noise_factors + _JITTER
    factor = cholesky(whole)
    weights = cho_solve((factor, True), targets)
    return FittedMultiViewGP(
        statistics, np.asarray(found.x), noise_factors, factor, weights, centre, scale, float(found.fun)
    )


def _covariance(pairs: Sequence[tuple[np.ndarray, np.ndarray]], theta: np.ndarray) -> np.ndarray:
    total = np.zeros(pairs[0][0].shape)
    parts = np.exp(theta[:-1]).reshape(-1, 3)
    for (distances, products), (size, reach, slope) in zip(pairs, parts, strict=True):
        total += size * np.exp(-reach * distances) + slope * products
    return total


def _negative_log_posterior(
    theta: np.ndarray,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    targets: np.ndarray,
    noise_factors: np.ndarray,
    prior: tuple[np.ndarray, np.ndarray],
) -> tuple[float, np.ndarray]:
    """Negative log posterior density of log hyperparameters, and its gradient."""
    parts, noise = np.exp(theta[:-1]).reshape(-1, 3), np.exp(theta[-1])
    kernels = [
        size * np.exp(-reach * distances)
        for (distances, _), (size, reach, _) in zip(pairs, parts, strict=True)
    ]
    slopes = [slope * products for (_, products), (_, _, slope) in zip(pairs, parts, strict=True)]
    whole = np.sum([*kernels, *slopes], axis=0)
    whole[np.diag_indices(len(whole))] += noise * noise_factors + _JITTER
    found = negative_log_likelihood(whole, targets)
    if found is None:
        return 1e10, np.zeros_like(theta)
    loss, slant = found
    gradient = []
    for kernel, line, (distances, _), (_, reach, _) in zip(kernels, slopes, pairs, parts, strict=True):
        shared = slant * kernel
        gradient += [shared.sum(), -reach * (shared * distances).sum(), (slant * line).sum()]
    gradient.append(noise * (np.diag(slant) * noise_factors).sum())
    away = (theta - prior[0]) / prior[1]
    return float(loss + 0.5 * away @ away), np.array(gradient) + away / prior[1]


def _prior(statistics: Sequence[ViewStatistics]) -> tuple[np.ndarray, np.ndarray]:
    """(3 V + 1,) prior means and deviations of the log hyperparameters."""
    own = [(np.log(0.5), -np.log(2 * each.variance), np.log(0.5 / each.variance)) for each in statistics]
    start = np.append(np.ravel(own), _NOISE[0])
    return start, np.append(np.tile(_SPREADS, len(statistics)), _NOISE[1])


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
class LogScaleModel:
    """Multi-view Gaussian process of values on a log scale.

    Args:
        process: models `views[first:]`.
        scale: the log scale.
        first: index of the first view that the process reads.
    """

    process: FittedMultiViewGP
    scale: LogScale
    first: int

    def posterior(self, views: Sequence[np.ndarray], joint: bool = False) -> Posterior:
        """See `FittedSurrogate`."""
        used = views[self.first :]
        mean, deviation = self.process.predict(used)
        if not joint:
            return Posterior(mean, deviation, self.scale.inverse)
        return CorrelatedPosterior(
            mean, self.process.covariance(used), self.process.noise, self.scale.inverse
        )


@dataclass(frozen=True)
class LinearModel:
    """Linear model of an objective that is additive over genes; its variance is 0.

    Args:
        weights: (D + 1,) weights of the features of the first view, and the intercept.
    """

    weights: np.ndarray

    def posterior(self, views: Sequence[np.ndarray], joint: bool = False) -> Posterior:
        """See `FittedSurrogate`; `joint` has no effect."""
        del joint
        return Posterior(_with_intercept(views[0]) @ self.weights, np.zeros(len(views[0])))


class MultiViewGaussianProcess(ProbabilisticSurrogate):
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

    def fit_views(self, views: Sequence[np.ndarray], values: np.ndarray, seed: int) -> FittedSurrogate:
        """See `ProbabilisticSurrogate`; does not depend on `seed`."""
        del seed
        weights, error = _fit_linear(views[0], values)
        if np.ptp(values) == 0 or error <= _MAX_LINEAR_ERROR * np.std(values):
            return LinearModel(weights)
        scale = LogScale.of(values, self._step)
        targets, starts = scale.transform(values), range(min(len(views), 2))
        found = [fit_multi_view_gp(views[first:], targets, self._steps) for first in starts]
        best = min(starts, key=lambda first: found[first].loss)
        return LogScaleModel(refit_robust(found[best], targets, self._steps // 2), scale, best)


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
