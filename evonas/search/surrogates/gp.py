"""A Gaussian process with a length scale for every feature, which knows how sure it is.

Covariance: a linear part, plus a Gaussian one with a weight for every feature, plus noise (Rasmussen and
Williams, "Gaussian Processes for Machine Learning", 2006, chapters 2 and 5). All are found by maximum a
posteriori with exact gradients. N facts, Q points, D features; values are standardised.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

# priors of the logarithms: sum of the features' weights; rough part, linear part, noise
_WEIGHT, _REST = (np.log(3.0), 1.5), (np.array([0.0, 0.0, -4.0]), np.array([1.5, 1.5, 4.0]))
_BOUNDS = [(-7.0, 5.0), (-9.0, 5.0), (-20.0, 2.0)]
_JITTER = 1e-10
_MOST = 400


@dataclass(frozen=True)
class Posterior:
    """What a process believes after some facts.

    Args:
        loss: negative log posterior of the facts, for comparing features of the same facts.
    """

    features: np.ndarray
    settings: np.ndarray
    factor: np.ndarray
    weights: np.ndarray
    centre: float
    scale: float
    loss: float

    def outlook(self, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(Q,) means and standard deviations of measurements at (Q, D) features, noise included."""
        shared = _covariance(asked, self.features, self.settings, self.features.mean(axis=0))
        seen = solve_triangular(self.factor, shared.T, lower=True)
        rough, linear, noise = np.exp(self.settings[-3:])
        away = ((asked - self.features.mean(axis=0)) ** 2).sum(axis=1) * 4 / asked.shape[1]
        variance = rough + linear * away + noise - (seen**2).sum(axis=0)
        mean = shared @ self.weights * self.scale + self.centre
        return mean, np.sqrt(np.maximum(variance, 0.0)) * self.scale

    def left_out(self, values: np.ndarray) -> np.ndarray:
        """(N,) what would be predicted of each fact without it."""
        inverse = np.diag(cho_solve((self.factor, True), np.eye(len(values))))
        return np.asarray(values - self.weights / inverse * self.scale)


def learn(features: np.ndarray, values: np.ndarray, seed: int, steps: int = 20) -> Posterior:
    """The posterior after (N,) values at (N, D) features.

    Args:
        seed: which facts settle the covariance, where there are very many.
        steps: of the optimiser.
    """
    centre, scale = float(values.mean()), float(values.std()) or 1.0
    told = (values - centre) / scale
    order = np.random.default_rng(seed).permutation(len(values))[:_MOST]
    settings, loss = _settled(features[order], told[order], steps)
    whole = _covariance(features, features, settings, features.mean(axis=0))
    whole[np.diag_indices(len(whole))] += np.exp(settings[-1]) + _JITTER
    factor = factor_of(whole)
    return Posterior(features, settings, factor, cho_solve((factor, True), told), centre, scale, loss)


def _covariance(
    first: np.ndarray, second: np.ndarray, settings: np.ndarray, middle: np.ndarray
) -> np.ndarray:
    width, (rough, linear) = first.shape[1], np.exp(settings[-3:-1])
    root = np.exp(settings[:-3] / 2)
    left, right = first * root, second * root
    apart = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * left @ right.T
    along = (first - middle) @ (second - middle).T * 4 / width
    return np.asarray(rough * np.exp(-np.maximum(apart, 0.0)) + linear * along)


def factor_of(matrix: np.ndarray) -> np.ndarray:
    """The Cholesky factor, with as much more noise as the matrix needs to have one."""
    more = 0.0
    while True:
        try:
            return np.linalg.cholesky(matrix + more * np.eye(len(matrix)))
        except np.linalg.LinAlgError:
            more = max(more * 10, 1e-9)


def _settled(features: np.ndarray, told: np.ndarray, steps: int) -> tuple[np.ndarray, float]:
    """The logarithms of all settings, and the loss they have."""
    width = features.shape[1]
    apart = np.stack([(column[:, None] - column).ravel() ** 2 for column in features.T])
    centred = features - features.mean(axis=0)
    along = centred @ centred.T * 4 / width
    start = _expected(width)
    bounds = [(-9.0, 5.0)] * width + _BOUNDS
    found = minimize(
        lambda settings: _loss(settings, apart, along, told),
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": steps},
    )
    return np.asarray(found.x), float(found.fun)


def _loss(
    settings: np.ndarray, apart: np.ndarray, along: np.ndarray, told: np.ndarray
) -> tuple[float, np.ndarray]:
    """Negative log posterior and its gradient."""
    weights, (rough, linear, noise) = np.exp(settings[:-3]), np.exp(settings[-3:])
    bumps = rough * np.exp(-(weights @ apart)).reshape(along.shape)
    try:
        factor = cho_factor(bumps + linear * along + (noise + _JITTER) * np.eye(len(told)), lower=True)
    except LinAlgError:
        return 1e10, np.zeros_like(settings)
    solved = cho_solve(factor, told)
    loss = 0.5 * told @ solved + np.log(np.diag(factor[0])).sum()
    slope = 0.5 * (cho_solve(factor, np.eye(len(told))) - np.outer(solved, solved))
    shared = slope * bumps
    rest = [shared.sum(), linear * (slope * along).sum(), noise * np.trace(slope)]
    gradient = np.concatenate([-(apart @ shared.ravel()) * weights, rest])
    spread = np.concatenate([np.full(len(weights), _WEIGHT[1]), _REST[1]])
    away = (settings - _expected(len(weights))) / spread
    return float(loss + 0.5 * away @ away), gradient + away / spread


def _expected(width: int) -> np.ndarray:
    """(D + 3,) the settings that the priors hold for likeliest."""
    return np.concatenate([np.full(width, _WEIGHT[0] - np.log(width)), _REST[0]])
