"""Gaussian-process surrogate of one objective that selects its view and its scale.

N observations, Q points, S deviations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evonas.search.surrogates.base import Predict, kendall_tau
from evonas.search.surrogates.gp import GPPosterior, fit_gp
from evonas.search.surrogates.rank_transform import RankTransform

# a leave-one-out tau from which values are modelled directly
_MIN_TAU = 0.98


@dataclass(frozen=True)
class ObjectivePosterior:
    """Gaussian-process posterior of one objective.

    Args:
        posterior: posterior of the values, or of the normal scores of their ranks.
        view: index of the view that the posterior reads.
        ranks: maps normal scores back to values; None if values are modelled directly.
        span: range of the observed values.
    """

    posterior: GPPosterior
    view: int
    ranks: RankTransform | None
    span: float

    def median(self, features: np.ndarray) -> np.ndarray:
        """(Q,) posterior medians."""
        return self._inverse(self.posterior.predict(features)[0])

    def values_at(self, features: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        """(Q, S) values at (S,) standard deviations from the mean.

        A median deviation below a thousandth of the observed range is taken as 0: otherwise many points near
        the front have tiny improvements of an objective that is known almost exactly, such as a cost.
        """
        mean, deviation = self.posterior.predict(features)
        if self.ranks is None and np.median(deviation) < self.span / 1000:
            deviation = np.zeros_like(deviation)
        return self._inverse(mean[:, None] + deviation[:, None] * deviations)

    def _inverse(self, modelled: np.ndarray) -> np.ndarray:
        return modelled if self.ranks is None else self.ranks.values(modelled)


class GaussianProcess:
    """Surrogate: a Gaussian process on values or on normal scores of ranks, on one view of the space.

    It models whichever of values and normal scores has the larger leave-one-out Kendall tau, on the view with
    the largest posterior density.

    Args:
        steps: iterations of the optimiser of the hyperparameters.
    """

    def __init__(self, steps: int = 20) -> None:
        self._steps = steps

    def posterior(self, views: Sequence[np.ndarray], values: np.ndarray, seed: int) -> ObjectivePosterior:
        """Posterior given (N,) values at N rows of every view; `seed` as in `fit_gp`."""
        span = float(np.ptp(values))
        plain = fit_gp(views[0], values, seed, self._steps)
        tau = kendall_tau(plain.leave_one_out(values), values)
        if tau >= _MIN_TAU or span == 0:
            return ObjectivePosterior(plain, 0, None, span)
        ranks = RankTransform.of(values, tail=5)
        scored = fit_gp(views[0], ranks.scores, seed, self._steps)
        is_ranked = kendall_tau(scored.leave_one_out(ranks.scores), values) >= tau
        targets, first = (ranks.scores, scored) if is_ranked else (values, plain)
        found = [first, *(fit_gp(view, targets, seed, self._steps) for view in views[1:])]
        best = min(range(len(found)), key=lambda at: found[at].loss)
        return ObjectivePosterior(found[best], best, ranks if is_ranked else None, span)

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """See `Surrogate`; predicts the posterior median."""
        return self.posterior([features], values, seed).median
