"""Gaussian-process regression with automatic relevance determination (one length scale per feature).

The covariance is the sum of a squared exponential kernel, a linear kernel and noise (Rasmussen and Williams,
"Gaussian Processes for Machine Learning", 2006, chapters 2 and 5). Hyperparameters are maximum a posteriori
estimates with exact gradients. N observations, Q points, D features; values are standardised.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

from evonas.search.surrogates.base import Posterior, ProbabilisticSurrogate, kendall_tau
from evonas.search.surrogates.rank_transform import RankTransform

# normal priors (mean, deviation) of log hyperparameters: sum of feature weights; signal, linear, noise
_WEIGHT, _REST = (np.log(3.0), 1.5), (np.array([0.0, 0.0, -4.0]), np.array([1.5, 1.5, 4.0]))
_BOUNDS = [(-7.0, 5.0), (-9.0, 5.0), (-20.0, 2.0)]
_JITTER = 1e-10
_MAX_OBSERVATIONS = 400
# a leave-one-out tau from which values are modelled directly
_MIN_TAU = 0.98


@dataclass(frozen=True)
class FittedGP:
    """A Gaussian process conditioned on observations.

    Args:
        features: (N, D) features of the observations.
        theta: (D + 3,) log hyperparameters: feature weights, signal, linear and noise variance.
        factor: (N, N) lower Cholesky factor of the covariance of the observations.
        weights: (N,) inverse covariance times standardised values.
        centre: mean of the values.
        scale: standard deviation of the values.
        loss: negative log posterior density of the hyperparameters, comparable between features of the same
            observations.
    """

    features: np.ndarray
    theta: np.ndarray
    factor: np.ndarray
    weights: np.ndarray
    centre: float
    scale: float
    loss: float

    def predict(self, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(Q,) means and standard deviations of observations at (Q, D) features, noise included."""
        shared = _covariance(asked, self.features, self.theta, self.features.mean(axis=0))
        seen = solve_triangular(self.factor, shared.T, lower=True)
        signal, linear, noise = np.exp(self.theta[-3:])
        away = ((asked - self.features.mean(axis=0)) ** 2).sum(axis=1) * 4 / asked.shape[1]
        variance = signal + linear * away + noise - (seen**2).sum(axis=0)
        mean = shared @ self.weights * self.scale + self.centre
        return mean, np.sqrt(np.maximum(variance, 0.0)) * self.scale

    def leave_one_out(self, values: np.ndarray) -> np.ndarray:
        """(N,) leave-one-out predictions (Rasmussen and Williams, 2006, eq. 5.12)."""
        inverse = np.diag(cho_solve((self.factor, True), np.eye(len(values))))
        return np.asarray(values - self.weights / inverse * self.scale)


def fit_gp(features: np.ndarray, values: np.ndarray, seed: int, steps: int = 20) -> FittedGP:
    """Fit a Gaussian process to (N,) values at (N, D) features.

    Args:
        features: (N, D).
        values: (N,).
        seed: selects the 400 observations that determine the hyperparameters, if there are more.
        steps: iterations of the optimiser.
    """
    centre, scale = float(values.mean()), float(values.std()) or 1.0
    targets = (values - centre) / scale
    order = np.random.default_rng(seed).permutation(len(values))[:_MAX_OBSERVATIONS]
    theta, loss = _optimise(features[order], targets[order], steps)
    whole = _covariance(features, features, theta, features.mean(axis=0))
    whole[np.diag_indices(len(whole))] += np.exp(theta[-1]) + _JITTER
    factor = cholesky(whole)
    return FittedGP(features, theta, factor, cho_solve((factor, True), targets), centre, scale, loss)


def _covariance(first: np.ndarray, second: np.ndarray, theta: np.ndarray, middle: np.ndarray) -> np.ndarray:
    width, (signal, linear) = first.shape[1], np.exp(theta[-3:-1])
    root = np.exp(theta[:-3] / 2)
    left, right = first * root, second * root
    distances = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * left @ right.T
    products = (first - middle) @ (second - middle).T * 4 / width
    return np.asarray(signal * np.exp(-np.maximum(distances, 0.0)) + linear * products)


def cholesky(matrix: np.ndarray) -> np.ndarray:
    """Lower Cholesky factor; adds increasing noise to the diagonal until the matrix is positive definite."""
    more = 0.0
    while True:
        try:
            return np.linalg.cholesky(matrix + more * np.eye(len(matrix)))
        except np.linalg.LinAlgError:
            more = max(more * 10, 1e-9)


def _optimise(features: np.ndarray, targets: np.ndarray, steps: int) -> tuple[np.ndarray, float]:
    """Maximum a posteriori log hyperparameters and their loss."""
    width = features.shape[1]
    distances = np.stack([(column[:, None] - column).ravel() ** 2 for column in features.T])
    centred = features - features.mean(axis=0)
    products = centred @ centred.T * 4 / width
    start = _prior_mean(width)
    bounds = [(-9.0, 5.0)] * width + _BOUNDS
    found = minimize(
        lambda theta: _negative_log_posterior(theta, distances, products, targets),
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": steps},
    )
    return np.asarray(found.x), float(found.fun)


def _negative_log_posterior(
    theta: np.ndarray, distances: np.ndarray, products: np.ndarray, targets: np.ndarray
) -> tuple[float, np.ndarray]:
    """Negative log posterior density of log hyperparameters, and its gradient."""
    weights, (signal, linear, noise) = np.exp(theta[:-3]), np.exp(theta[-3:])
    kernel = signal * np.exp(-(weights @ distances)).reshape(products.shape)
    found = negative_log_likelihood(
        kernel + linear * products + (noise + _JITTER) * np.eye(len(targets)), targets
    )
    if found is None:
        return 1e10, np.zeros_like(theta)
    loss, slope = found
    shared = slope * kernel
    rest = [shared.sum(), linear * (slope * products).sum(), noise * np.trace(slope)]
    gradient = np.concatenate([-(distances @ shared.ravel()) * weights, rest])
    spread = np.concatenate([np.full(len(weights), _WEIGHT[1]), _REST[1]])
    away = (theta - _prior_mean(len(weights))) / spread
    return float(loss + 0.5 * away @ away), gradient + away / spread


def _prior_mean(width: int) -> np.ndarray:
    """(D + 3,) prior means of the log hyperparameters."""
    return np.concatenate([np.full(width, _WEIGHT[0] - np.log(width)), _REST[0]])


def negative_log_likelihood(covariance: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray] | None:
    """Negative log marginal likelihood of (N,) targets up to a constant, and its (N, N) gradient.

    Rasmussen and Williams, 2006, eqs. 5.8 and 5.9.

    Returns:
        None if the (N, N) covariance is not positive definite.
    """
    try:
        factor = cho_factor(covariance, lower=True)
    except LinAlgError:
        return None
    solved = cho_solve(factor, targets)
    loss = 0.5 * targets @ solved + np.log(np.diag(factor[0])).sum()
    return loss, 0.5 * (cho_solve(factor, np.eye(len(targets))) - np.outer(solved, solved))


@dataclass(frozen=True)
class FittedGaussianProcess:
    """A fitted `GaussianProcess`.

    Args:
        process: models the values, or the normal scores of their ranks.
        view: index of the view that the process reads.
        ranks: maps normal scores back to values; None if values are modelled directly.
        span: range of the observed values.
    """

    process: FittedGP
    view: int
    ranks: RankTransform | None
    span: float

    def posterior(self, views: Sequence[np.ndarray], joint: bool = False) -> Posterior:
        """Posterior of independent points; `joint` has no effect.

        A median deviation below a thousandth of the observed range is taken as 0: otherwise many points near
        the front have tiny improvements of an objective that is known almost exactly, such as a cost.
        """
        del joint
        mean, deviation = self.process.predict(views[self.view])
        if self.ranks is None and np.median(deviation) < self.span / 1000:
            deviation = np.zeros_like(deviation)
        return Posterior(mean, deviation, None if self.ranks is None else self.ranks.values)


class GaussianProcess(ProbabilisticSurrogate):
    """Surrogate: a Gaussian process on values or on normal scores of ranks, on one view of the space.

    It models whichever of values and normal scores has the larger leave-one-out Kendall tau, on the view with
    the largest posterior density.

    Args:
        steps: iterations of the optimiser of the hyperparameters.
    """

    def __init__(self, steps: int = 20) -> None:
        self._steps = steps

    def fit_views(self, views: Sequence[np.ndarray], values: np.ndarray, seed: int) -> FittedGaussianProcess:
        """See `ProbabilisticSurrogate`; `seed` as in `fit_gp`."""
        span = float(np.ptp(values))
        plain = fit_gp(views[0], values, seed, self._steps)
        tau = kendall_tau(plain.leave_one_out(values), values)
        if tau >= _MIN_TAU or span == 0:
            return FittedGaussianProcess(plain, 0, None, span)
        ranks = RankTransform.of(values, tail=5)
        scored = fit_gp(views[0], ranks.scores, seed, self._steps)
        is_ranked = kendall_tau(scored.leave_one_out(ranks.scores), values) >= tau
        targets, first = (ranks.scores, scored) if is_ranked else (values, plain)
        found = [first, *(fit_gp(view, targets, seed, self._steps) for view in views[1:])]
        best = min(range(len(found)), key=lambda at: found[at].loss)
        return FittedGaussianProcess(found[best], best, ranks if is_ranked else None, span)
