"""What several points may turn out to be together: measuring one says something of those that are like it.

P points, S draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from evonas.search.surrogates.base import Predict
from evonas.search.surrogates.multi_view_gp import Blend, blend, steadied

# of the facts' spread: how far a line may miss left-out facts and still be believed
_SURE = 0.01
_RIDGE = 1e-6
# weights by facts above which a line is not judged
_FULL = 0.9
# more than this lies beyond any float once it is raised
_MOST = 300.0


class Part(Protocol):
    """One objective of some points.

    `outcomes` gives (P, S) values at (S,) deviations from their middle; `believe` takes it that one of the
    points turned out as expected, which leaves less doubt about those like it.
    """

    def outcomes(self, deviations: np.ndarray) -> np.ndarray: ...

    def believe(self, at: int) -> None: ...


class Together(Protocol):
    """What candidates may turn out to be, alone and together; `oracle.Outlook` is one."""

    def __call__(self, rows: np.ndarray, deviations: np.ndarray) -> np.ndarray: ...

    def joint(self, rows: np.ndarray) -> Sequence[Part]: ...


class Alone:
    """Points that say nothing of one another, by a function from deviations to values."""

    def __init__(self, outcomes: Callable[[np.ndarray], np.ndarray]) -> None:
        self._outcomes = outcomes

    def outcomes(self, deviations: np.ndarray) -> np.ndarray:
        """(P, S) values."""
        return self._outcomes(deviations)

    def believe(self, at: int) -> None:
        """Nothing follows."""


class Correlated:
    """Points of one process.

    Args:
        mean: (P,).
        covariance: (P, P) without the noise of measuring, which a measurement of a like point leaves.
        noise: its variance.
        back: from what was learnt to values.
    """

    def __init__(
        self,
        mean: np.ndarray,
        covariance: np.ndarray,
        noise: float,
        back: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        self._mean, self._covariance, self._noise, self._back = mean, covariance.copy(), noise, back

    def outcomes(self, deviations: np.ndarray) -> np.ndarray:
        """(P, S) values."""
        spread = np.sqrt(np.maximum(np.diag(self._covariance), 0.0) + self._noise)
        return self._back(self._mean[:, None] + spread[:, None] * deviations)

    def believe(self, at: int) -> None:
        """The covariance given the point; the mean stays, as it turned out as expected."""
        shared = self._covariance[:, at]
        total = float(shared[at]) + self._noise
        if total > 0:
            self._covariance -= np.outer(shared, shared) / total


@dataclass(frozen=True)
class Scale:
    """The scale that an objective is learnt on: logarithms of the distance to just below the best fact.

    Errors have a few terrible facts, which would govern a fit, and the best lie close. The step below the
    best fact is a share of the way from it to the median.

    Args:
        floor: the value whose logarithm does not exist.
        is_straight: whether values are learnt as they are.
    """

    floor: float
    is_straight: bool

    @classmethod
    def of(cls, values: np.ndarray, step: float) -> "Scale":
        """From (N,) values; straight where half of them are the best."""
        way = float(np.median(values) - values.min()) * step
        return cls(float(values.min()) - way, way <= 0)

    def there(self, values: np.ndarray) -> np.ndarray:
        """Values on the scale."""
        return values if self.is_straight else np.log(values - self.floor)

    def back(self, told: np.ndarray) -> np.ndarray:
        """What lies on the scale as values."""
        return told if self.is_straight else np.exp(np.minimum(told, _MOST)) + self.floor


@dataclass(frozen=True)
class Blended:
    """A belief on a scale, from the last views of the space.

    Args:
        first: position of the first view that it reads.
    """

    posterior: Blend
    scale: Scale
    first: int

    def outcomes(self, views: Sequence[np.ndarray], deviations: np.ndarray) -> np.ndarray:
        """(P, S) values of points, each alone."""
        mean, spread = self.posterior.outlook(views[self.first :])
        return self.scale.back(mean[:, None] + spread[:, None] * deviations)

    def part(self, views: Sequence[np.ndarray]) -> Part:
        """The points together."""
        mine = views[self.first :]
        mean = self.posterior.outlook(mine)[0]
        return Correlated(mean, self.posterior.covariance(mine), self.posterior.noise, self.scale.back)


@dataclass(frozen=True)
class Line:
    """A cost that adds up over the genes: nobody doubts it.

    Args:
        weights: of the features of the first view, and the constant.
    """

    weights: np.ndarray

    def outcomes(self, views: Sequence[np.ndarray], deviations: np.ndarray) -> np.ndarray:
        """(P, S) values of points, the same at every deviation."""
        return np.repeat((_extended(views[0]) @ self.weights)[:, None], len(deviations), axis=1)

    def part(self, views: Sequence[np.ndarray]) -> Part:
        """The points together."""
        return Alone(lambda deviations: self.outcomes(views, deviations))


class BlendedProcess:
    """Straight lines for what adds up over genes; for the rest, processes on a blend of views.

    A line is believed if it tells left-out facts to a hundredth of their spread. Otherwise the blend of all
    views and the one without the genes are compared, because errors follow what is computed; the likelier
    one is believed.

    Args:
        steps: of the optimiser that settles a covariance.
        step: below the best fact, where the scale of logarithms begins; see `Scale`.
    """

    def __init__(self, steps: int = 20, step: float = 0.5) -> None:
        self._steps, self._step = steps, step

    def believe_views(self, views: Sequence[np.ndarray], values: np.ndarray) -> Blended | Line:
        """The belief after (N,) values at N rows of every view."""
        line, missed = _line(views[0], values)
        if np.ptp(values) == 0 or missed <= _SURE * np.std(values):
            return Line(line)
        scale = Scale.of(values, self._step)
        told, starts = scale.there(values), range(min(len(views), 2))
        found = [blend(views[first:], told, self._steps) for first in starts]
        best = min(starts, key=lambda first: found[first].loss)
        return Blended(steadied(found[best], told, self._steps // 2), scale, best)

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """The middle of the belief, as every surrogate gives it."""
        del seed
        belief, middle = self.believe_views([features], values), np.zeros(1)
        return lambda asked: belief.outcomes([asked], middle)[:, 0]


def _line(features: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights of a line through the facts, and how far it misses facts that it has not seen.

    Left out by leverages: Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", 2009,
    eq. 7.64. Infinite where there are hardly more facts than weights, for then nothing is left out.
    """
    rows = _extended(features)
    inverse = np.linalg.inv(rows.T @ rows + _RIDGE * np.eye(rows.shape[1]))
    weights = inverse @ rows.T @ values
    leverage = np.einsum("ij,jk,ik->i", rows, inverse, rows)
    if leverage.mean() > _FULL:
        return weights, float("inf")
    return weights, float(np.std((values - rows @ weights) / np.maximum(1 - leverage, 1e-3)))


def _extended(features: np.ndarray) -> np.ndarray:
    return np.hstack([features, np.ones((len(features), 1))])
