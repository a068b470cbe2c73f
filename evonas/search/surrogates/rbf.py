"""Radial basis function and Kriging surrogates of NSGANetV2 (Lu et al., ECCV 2020)."""

import warnings

import numpy as np
from scipy.interpolate import RBFInterpolator
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.linear_model import Ridge

from evonas.search.surrogates.base import Predict


class RBF:
    """Radial basis functions with a cubic kernel and a linear tail.

    Args:
        smoothing: regularisation for noisy observations; 0 interpolates them.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        self._smoothing = smoothing

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """See `Surrogate`; with D + 1 or fewer observations, uses a linear kernel with a constant tail."""
        del seed
        # one-hot columns are linearly dependent, but a tail needs independent coordinates
        axes = _directions(features)
        given = features @ axes
        is_determined = len(given) > given.shape[1] + 1
        # without a linear tail, the cubic kernel is not conditionally positive definite
        kernel, degree = ("cubic", 1) if is_determined else ("linear", 0)
        fitted = RBFInterpolator(given, values, kernel=kernel, degree=degree, smoothing=self._smoothing)
        return lambda asked: np.asarray(fitted(asked @ axes))


class GP:
    """Gaussian process (Kriging) with a linear trend, one length scale and learned noise."""

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """See `Surrogate`; length scale and noise by maximum likelihood from a single start."""
        trend = Ridge(alpha=1e-3).fit(features, values)
        rest = values - trend.predict(features)
        # a Matern kernel of infinite smoothness is the squared exponential kernel
        kernel = ConstantKernel() * Matern(2.0, (0.1, 1e3), nu=np.inf)
        process = GaussianProcessRegressor(
            kernel + WhiteKernel(1e-4, (1e-10, 10.0)), normalize_y=True, random_state=seed % 2**32
        )
        # a length scale at its bound is not an error
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            process.fit(features, rest)
        return lambda asked: np.asarray(trend.predict(asked) + process.predict(asked))


def _directions(features: np.ndarray) -> np.ndarray:
    """(D, R) orthonormal basis of the subspace in which (N, D) features vary; R is its dimension."""
    live = np.flatnonzero(np.ptp(features, axis=0) > 0)
    centred = features[:, live] - features[:, live].mean(axis=0)
    rank = int(np.linalg.matrix_rank(centred)) if live.size else 0
    if rank == live.size:
        return np.eye(features.shape[1])[:, live]
    axes = np.zeros((features.shape[1], rank))
    axes[live] = np.linalg.svd(centred, full_matrices=False)[2][:rank].T
    return axes
