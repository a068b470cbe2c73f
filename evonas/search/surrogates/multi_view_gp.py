"""Gaussian-process regression with a sum of kernels over several views (encodings) of the points.

Each view contributes a squared exponential and a linear kernel with three hyperparameters of its own (sums of
kernels: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, section 4.2.4).
N observations, Q points, D features, V views.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

from evonas.search.surrogates.gp import cholesky

# deviations of the priors of a view's log amplitude, inverse length scale and slope; prior of the log noise
_SPREADS, _NOISE = (1.5, 1.0, 1.5), (-4.0, 3.0)
_BOUNDS, _NOISE_BOUNDS = (-12.0, 6.0), (-16.0, 1.0)
_JITTER = 1e-8
# degrees of freedom of `refit_robust`, and bounds of its noise factors
_FREEDOM, _WEIGHTS = 4.0, (0.5, 1e4)


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
class MultiViewPosterior:
    """Posterior of a multi-view Gaussian process.

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
        shared, seen = self._projected(asked)
        own = sum(
            size + slope * ((view - stat.mean) ** 2).sum(axis=1)
            for stat, view, (size, _, slope) in zip(self.views, asked, self._parts(), strict=True)
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

    def _parts(self) -> np.ndarray:
        return np.exp(self.theta[:-1]).reshape(-1, 3)


def fit_multi_view_gp(views: Sequence[np.ndarray], values: np.ndarray, steps: int) -> MultiViewPosterior:
    """Fit a Gaussian process to (N,) values at (N, D) features of every view.

    Args:
        views: (N, D) features, per view.
        values: (N,).
        steps: iterations of the optimiser of the hyperparameters.
    """
    statistics = [ViewStatistics.of(view) for view in views]
    return _optimise(statistics, values, np.ones(len(values)), _prior(statistics)[0], steps)


def refit_robust(first: MultiViewPosterior, values: np.ndarray, steps: int) -> MultiViewPosterior:
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
) -> MultiViewPosterior:
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
    return MultiViewPosterior(
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
    try:
        factor = cho_factor(whole, lower=True)
    except LinAlgError:
        return 1e10, np.zeros_like(theta)
    solved = cho_solve(factor, targets)
    loss = 0.5 * targets @ solved + np.log(np.diag(factor[0])).sum()
    slant = 0.5 * (cho_solve(factor, np.eye(len(targets))) - np.outer(solved, solved))
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
