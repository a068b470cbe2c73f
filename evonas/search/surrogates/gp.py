"""Gaussian-process regression with automatic relevance determination (one length scale per feature).

The covariance is the sum of a squared exponential kernel, a linear kernel and noise (Rasmussen and Williams,
"Gaussian Processes for Machine Learning", 2006, chapters 2 and 5). Hyperparameters are maximum a posteriori
estimates with exact gradients. N observations, Q points, D features; values are standardised.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

# normal priors (mean, deviation) of log hyperparameters: sum of feature weights; signal, linear, noise
_WEIGHT, _REST = (np.log(3.0), 1.5), (np.array([0.0, 0.0, -4.0]), np.array([1.5, 1.5, 4.0]))
_BOUNDS = [(-7.0, 5.0), (-9.0, 5.0), (-20.0, 2.0)]
_JITTER = 1e-10
_MAX_OBSERVATIONS = 400


@dataclass(frozen=True)
class GPPosterior:
    """Posterior of a Gaussian process.

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


def fit_gp(features: np.ndarray, values: np.ndarray, seed: int, steps: int = 20) -> GPPosterior:
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
    return GPPosterior(features, theta, factor, cho_solve((factor, True), targets), centre, scale, loss)


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
    try:
        factor = cho_factor(kernel + linear * products + (noise + _JITTER) * np.eye(len(targets)), lower=True)
    except LinAlgError:
        return 1e10, np.zeros_like(theta)
    solved = cho_solve(factor, targets)
    loss = 0.5 * targets @ solved + np.log(np.diag(factor[0])).sum()
    slope = 0.5 * (cho_solve(factor, np.eye(len(targets))) - np.outer(solved, solved))
    shared = slope * kernel
    rest = [shared.sum(), linear * (slope * products).sum(), noise * np.trace(slope)]
    gradient = np.concatenate([-(distances @ shared.ravel()) * weights, rest])
    spread = np.concatenate([np.full(len(weights), _WEIGHT[1]), _REST[1]])
    away = (theta - _prior_mean(len(weights))) / spread
    return float(loss + 0.5 * away @ away), gradient + away / spread


def _prior_mean(width: int) -> np.ndarray:
    """(D + 3,) prior means of the log hyperparameters."""
    return np.concatenate([np.full(width, _WEIGHT[0] - np.log(width)), _REST[0]])
