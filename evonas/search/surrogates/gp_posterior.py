"""What a search believes of one objective: not a number for each point but a range of numbers.

N facts, Q points, S draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from evonas.search.surrogates.base import Predict, rank_agreement
from evonas.search.surrogates.gp import Posterior, learn
from evonas.search.surrogates.rank_transform import Ranks

_SURE = 0.98


@dataclass(frozen=True)
class Belief:
    """A posterior on the view and the scale that suit an objective best.

    Args:
        posterior: of the values, or of the scores of their ranks.
        view: position of the features that it reads.
        ranks: turns scores back into values; None where values were learnt.
        reach: how far the facts spread.
    """

    posterior: Posterior
    view: int
    ranks: Ranks | None
    reach: float

    def values(self, features: np.ndarray) -> np.ndarray:
        """(Q,) the middle of what is believed."""
        return self._back(self.posterior.outlook(features)[0])

    def outcomes(self, features: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        """(Q, S) values that lie so many standard deviations from the middle.

        What is known to a thousandth of the facts' spread is taken as known, because a front is full of
        points that gain next to nothing on a cost nobody doubts.
        """
        mean, spread = self.posterior.outlook(features)
        if self.ranks is None and np.median(spread) < self.reach / 1000:
            spread = np.zeros_like(spread)
        return self._back(mean[:, None] + spread[:, None] * deviations)

    def _back(self, told: np.ndarray) -> np.ndarray:
        return told if self.ranks is None else self.ranks.values(told)


class Believer(Protocol):
    """A surrogate that learns from several views at once, and how sure it is."""

    def believe(self, views: Sequence[np.ndarray], values: np.ndarray, seed: int) -> Belief: ...


class Process:
    """Gaussian processes on values and on ranks, and on every view of the space; the best one is believed.

    Values or normal scores of ranks: whichever predicts left-out facts in the better order. The view: the one
    under which the facts are likeliest.

    Args:
        steps: of the optimiser that settles the covariance.
    """

    def __init__(self, steps: int = 20) -> None:
        self._steps = steps

    def believe(self, views: Sequence[np.ndarray], values: np.ndarray, seed: int) -> Belief:
        """The belief after (N,) values at N rows of every view."""
        reach = float(np.ptp(values))
        plain = learn(views[0], values, seed, self._steps)
        sure = rank_agreement(plain.left_out(values), values)
        if sure >= _SURE or reach == 0:
            return Belief(plain, 0, None, reach)
        ranks = Ranks.of(values, tail=5)
        scored = learn(views[0], ranks.scores, seed, self._steps)
        is_ranked = rank_agreement(scored.left_out(ranks.scores), values) >= sure
        told, first = (ranks.scores, scored) if is_ranked else (values, plain)
        found = [first, *(learn(view, told, seed, self._steps) for view in views[1:])]
        best = min(range(len(found)), key=lambda at: found[at].loss)
        return Belief(found[best], best, ranks if is_ranked else None, reach)

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """The middle of the belief, as every surrogate gives it."""
        return self.believe([features], values, seed).values
