"""A Gaussian process on several views of the points at once: how alike two points are is a sum over views.

Each view adds a Gaussian and a linear covariance of its own size, so few settings are learnt and every view
counts as much as the facts say (sums of kernels: Rasmussen and Williams, "Gaussian Processes for Machine
Learning", 2006, section 4.2.4). N facts, Q points, D features, V views.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

from evonas.search.surrogates.gp import factor_of

# spread of the priors of a view's size, reach and slope; the noise's prior and its spread
_SPREADS, _NOISE = (1.5, 1.0, 1.5), (-4.0, 3.0)
_BOUNDS, _NOISE_BOUNDS = (-12.0, 6.0), (-16.0, 1.0)
_JITTER = 1e-8
# degrees of freedom of the scatter that `steadied` expects, and how far a weight may go
_FREEDOM, _WEIGHTS = 4.0, (0.5, 1e4)


@dataclass(frozen=True)
class Frame:
    """One view of the facts: its features, their middle, and how far they lie from it on average, squared."""

    features: np.ndarray
    middle: np.ndarray
    variance: float

    @classmethod
    def of(cls, features: np.ndarray) -> "Frame":
        """From (N, D) features."""
        middle = features.mean(axis=0)
        return cls(features, middle, float(((features - middle) ** 2).sum(axis=1).mean()) + 1e-12)

    def against(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(Q, R) squared distances and products about the middle."""
        left, right = first - self.middle, second - self.middle
        along = left @ right.T
        apart = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * along
        return np.maximum(apart, 0.0), along


@dataclass(frozen=True)
class Blend:
    """What a process on several views believes after some facts.

    Args:
        settings: logarithms of size, reach and slope of every view, then of the noise.
        doubts: (N,) how many times the noise each fact is taken to have.
        loss: negative log posterior of the facts, for comparing views of the same facts.
    """

    frames: Sequence[Frame]
    settings: np.ndarray
    doubts: np.ndarray
    factor: np.ndarray
    weights: np.ndarray
    centre: float
    scale: float
    loss: float

    @property
    def noise(self) -> float:
        """The variance that one measurement has, whatever is known."""
        return float(np.exp(self.settings[-1])) * self.scale**2

    def outlook(self, views: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(Q,) means and standard deviations of measurements at (Q, D) features of every view."""
        shared, seen = self._seen(views)
        own = sum(
            size + slope * ((view - frame.middle) ** 2).sum(axis=1)
            for frame, view, (size, _, slope) in zip(self.frames, views, self._parts(), strict=True)
        )
        variance = np.maximum(own - (seen**2).sum(axis=0), 0.0) * self.scale**2 + self.noise
        return shared @ self.weights * self.scale + self.centre, np.sqrt(variance)

    def covariance(self, views: Sequence[np.ndarray]) -> np.ndarray:
        """(Q, Q) of what is measured without its noise, given the facts."""
        seen = self._seen(views)[1]
        return np.asarray((self._between(views, views) - seen.T @ seen) * self.scale**2)

    def _seen(self, views: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        shared = self._between(views, [frame.features for frame in self.frames])
        return shared, solve_triangular(self.factor, shared.T, lower=True)

    def _between(self, first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> np.ndarray:
        pairs = [each.against(*rows) for each, *rows in zip(self.frames, first, second, strict=True)]
        return _covariance(pairs, self.settings)

    def _parts(self) -> np.ndarray:
        return np.exp(self.settings[:-1]).reshape(-1, 3)


def blend(views: Sequence[np.ndarray], values: np.ndarray, steps: int) -> Blend:
    """The posterior after (N,) values at (N, D) features of every view.

    Args:
        steps: of the optimiser that settles the covariance.
    """
    frames = [Frame.of(view) for view in views]
    return _settled(frames, values, np.ones(len(values)), _expected(frames)[0], steps)


def steadied(first: Blend, values: np.ndarray, steps: int) -> Blend:
    """The posterior once facts that lie far off are doubted, as slow outliers of a timing deserve.

    One step of the expectation maximisation of a Student t scatter (Lange, Little and Taylor, "Robust
    statistical modeling using the t distribution", 1989).
    """
    noise = np.exp(first.settings[-1])
    off = ((noise * first.doubts + _JITTER) * first.weights) ** 2 / noise
    doubts = np.clip((_FREEDOM + off) / (_FREEDOM + 1), *_WEIGHTS)
    return _settled(first.frames, values, doubts, first.settings, steps)


def _settled(
    frames: Sequence[Frame], values: np.ndarray, doubts: np.ndarray, begun: np.ndarray, steps: int
) -> Blend:
    centre, scale = float(values.mean()), float(values.std()) or 1.0
    told = (values - centre) / scale
    pairs = [frame.against(frame.features, frame.features) for frame in frames]
    expected = _expected(frames)
    found = minimize(
        lambda settings: _loss(settings, pairs, told, doubts, expected),
        begun,
        jac=True,
        method="L-BFGS-B",
        bounds=[_BOUNDS] * (len(begun) - 1) + [_NOISE_BOUNDS],
        options={"maxiter": steps},
    )
    whole = _covariance(pairs, found.x)
    whole[np.diag_indices(len(whole))] += np.exp(found.x[-1]) * doubts + _JITTER
    factor = factor_of(whole)
    weights = cho_solve((factor, True), told)
    return Blend(frames, np.asarray(found.x), doubts, factor, weights, centre, scale, float(found.fun))


def _covariance(pairs: Sequence[tuple[np.ndarray, np.ndarray]], settings: np.ndarray) -> np.ndarray:
    total = np.zeros(pairs[0][0].shape)
    parts = np.exp(settings[:-1]).reshape(-1, 3)
    for (apart, along), (size, reach, slope) in zip(pairs, parts, strict=True):
        total += size * np.exp(-reach * apart) + slope * along
    return total


def _loss(
    settings: np.ndarray,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    told: np.ndarray,
    doubts: np.ndarray,
    expected: tuple[np.ndarray, np.ndarray],
) -> tuple[float, np.ndarray]:
    """Negative log posterior and its gradient."""
    parts, noise = np.exp(settings[:-1]).reshape(-1, 3), np.exp(settings[-1])
    bumps = [size * np.exp(-reach * apart) for (apart, _), (size, reach, _) in zip(pairs, parts, strict=True)]
    slopes = [slope * along for (_, along), (_, _, slope) in zip(pairs, parts, strict=True)]
    whole = np.sum([*bumps, *slopes], axis=0)
    whole[np.diag_indices(len(whole))] += noise * doubts + _JITTER
    try:
        factor = cho_factor(whole, lower=True)
    except LinAlgError:
        return 1e10, np.zeros_like(settings)
    solved = cho_solve(factor, told)
    loss = 0.5 * told @ solved + np.log(np.diag(factor[0])).sum()
    slant = 0.5 * (cho_solve(factor, np.eye(len(told))) - np.outer(solved, solved))
    gradient = []
    for bump, line, (apart, _), (_, reach, _) in zip(bumps, slopes, pairs, parts, strict=True):
        shared = slant * bump
        gradient += [shared.sum(), -reach * (shared * apart).sum(), (slant * line).sum()]
    gradient.append(noise * (np.diag(slant) * doubts).sum())
    away = (settings - expected[0]) / expected[1]
    return float(loss + 0.5 * away @ away), np.array(gradient) + away / expected[1]


def _expected(frames: Sequence[Frame]) -> tuple[np.ndarray, np.ndarray]:
    """(3 V + 1,) the settings that the priors hold for likeliest, and their spreads."""
    own = [(np.log(0.5), -np.log(2 * each.variance), np.log(0.5 / each.variance)) for each in frames]
    start = np.append(np.ravel(own), _NOISE[0])
    return start, np.append(np.tile(_SPREADS, len(frames)), _NOISE[1])
