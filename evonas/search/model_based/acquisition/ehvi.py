"""Expected hypervolume improvement (EHVI).

Emmerich, Giannakoglou and Naujoks, "Single- and multiobjective evolutionary optimization assisted by Gaussian
random field metamodels", 2006. Batches by the Kriging believer: Ginsbourger, Le Riche and Carraro, "Kriging is
well-suited to parallelize optimization", 2010. P candidates, S Monte Carlo samples, M objectives,
N observations.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.stats import norm, qmc

from evonas.errors import UserError
from evonas.search.model_based.acquisition.hypervolume_improvement import HypervolumeImprovement
from evonas.search.ranking import non_dominated
from evonas.search.surrogates.joint_posterior import CandidatePosterior

Marginals = Callable[[np.ndarray, np.ndarray], np.ndarray]
_MARGIN = 0.1
_MIN_IMPROVEMENT = 1e-4
_OPTIMISM = -1.5


@runtime_checkable
class Acquisition(Protocol):
    """Selects candidates by their posterior distribution rather than by a point prediction.

    `posterior(rows, deviations)` returns (P, S, M) values of some candidates at (S, M) standard deviations
    from the mean. `observed` has shape (N, M). Returns distinct candidate indices, best first, at most
    `count`.
    """

    def acquire(
        self,
        posterior: CandidatePosterior,
        candidates: int,
        observed: np.ndarray,
        count: int,
        rng: np.random.Generator,
    ) -> list[int]: ...


class EHVI:
    """Greedy batch of the candidates with the largest expected hypervolume improvement.

    The reference point lies 10 % of the observed range beyond the worst observation in every objective, so
    that the ends of the front can be extended.

    Args:
        pool: number of candidates that are compared, those with the largest optimistic improvement.
        draws: Monte Carlo samples per candidate.

    Raises:
        UserError: `pool` or `draws` is below 1.
    """

    def __init__(self, pool: int = 300, draws: int = 32) -> None:
        self._pool, self._draws = at_least_one(pool, draws)

    def acquire(
        self,
        posterior: Marginals,
        candidates: int,
        observed: np.ndarray,
        count: int,
        rng: np.random.Generator,
    ) -> list[int]:
        """See `Acquisition`; each selected candidate joins the front with its posterior mean."""
        best, worst = observed.min(axis=0), observed.max(axis=0)
        span = worst - best
        improvement = HypervolumeImprovement(
            observed[non_dominated(observed)], best - _MARGIN * span, worst + _MARGIN * span, rng
        )
        width, rows = observed.shape[1], np.arange(candidates)
        # smaller improvements are rounding errors of copies of front members
        least = _MIN_IMPROVEMENT * span
        optimistic = improvement(posterior(rows, np.full((1, width), _OPTIMISM))[:, 0] + least)
        pool = rows[np.argsort(-optimistic, kind="stable")[: self._pool]]
        samples = posterior(pool, normal_deviates(self._draws, width, rng)) + least
        mean = posterior(pool, np.zeros((1, width)))[:, 0]
        chosen: list[int] = []
        for _ in range(min(count, len(pool))):
            expected = improvement(samples).mean(axis=1)
            expected[chosen] = -1.0
            chosen.append(int(np.argmax(expected)))
            improvement.add(mean[chosen[-1]])
        return [int(pool[at]) for at in chosen]


def at_least_one(pool: int, draws: int) -> tuple[int, int]:
    """Return both numbers.

    Raises:
        UserError: one of them is below 1.
    """
    if min(pool, draws) < 1:
        raise UserError(
            f"search.choice.pool and search.choice.draws must be at least 1, got {pool} and {draws}.",
            "Set search.choice.pool and search.choice.draws to 1 or more.",
        )
    return pool, draws


def normal_deviates(draws: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """(S, M) quasi-random standard normal deviates from a scrambled Sobol sequence."""
    sobol = qmc.Sobol(width, rng=rng)
    return np.asarray(norm.ppf(np.clip(sobol.random(draws), 1e-4, 1 - 1e-4)))
