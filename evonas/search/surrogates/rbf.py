"""Smooth surrogates: a cubic radial basis interpolant, and a Gaussian process.

Both are those of NSGANetV2 (Lu et al., ECCV 2020): RBF with cubic kernel and linear tail, and
Kriging with a linear trend and one length scale for all dimensions.
"""

import warnings

import numpy as np
from scipy.interpolate import RBFInterpolator
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.linear_model import Ridge

from evonas.search.surrogates.base import Predict


class RBF:
    """Passes through every fact; the best of the parts when measurements do not scatter.

    Args:
        smoothing: how far it may miss the facts, to ride out noise; 0 interpolates.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        self._smoothing = smoothing

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """Solve for the weights; the linear tail is dropped where the facts do not determine it."""
        del seed
        # words as columns sum to one, so the facts fill a plane only, and a tail needs its coordinates
        axes = _directions(features)
        given = features @ axes
        is_determined = len(given) > given.shape[1] + 1
        # without the tail the cubic kernel is not definite, the linear one (constant tail) is
        kernel, degree = ("cubic", 1) if is_determined else ("linear", 0)
        fitted = RBFInterpolator(given, values, kernel=kernel, degree=degree, smoothing=self._smoothing)
        return lambda asked: np.asarray(fitted(asked @ axes))


class GP:
    """A Gaussian process on what a linear trend leaves; learns the noise of the facts."""

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """Find length scale and noise by maximum likelihood, from one start."""
        trend = Ridge(alpha=1e-3).fit(features, values)
        rest = values - trend.predict(features)
        # a Matern kernel of infinite smoothness is the Gaussian one
        kernel = ConstantKernel() * Matern(2.0, (0.1, 1e3), nu=np.inf)
        process = GaussianProcessRegressor(
            kernel + WhiteKernel(1e-4, (1e-10, 10.0)), normalize_y=True, random_state=seed % 2**32
        )
        # a length scale at its bound is an answer, not an accident
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            process.fit(features, rest)
        return lambda asked: np.asarray(trend.predict(asked) + process.predict(asked))


def _directions(features: np.ndarray) -> np.ndarray:
    """(D, R) orthonormal columns along which (N, D) features vary at all; distances among them are kept."""
    live = np.flatnonzero(np.ptp(features, axis=0) > 0)
    centred = features[:, live] - features[:, live].mean(axis=0)
    rank = int(np.linalg.matrix_rank(centred)) if live.size else 0
    if rank == live.size:
        return np.eye(features.shape[1])[:, live]
    axes = np.zeros((features.shape[1], rank))
    axes[live] = np.linalg.svd(centred, full_matrices=False)[2][:rank].T
    return axes
