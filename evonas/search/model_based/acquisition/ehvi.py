"""Expected hypervolume improvement (EHVI).

Emmerich, Giannakoglou and Naujoks, "Single- and multiobjective evolutionary optimization assisted by Gaussian
random field metamodels", 2006. Batches by the Kriging believer: Ginsbourger, Le Riche and Carraro, "Kriging is
well-suited to parallelize optimization", 2010. P candidates, S Monte Carlo samples, M objectives,
N observations.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.stats import norm, qmc

from evonas.errors import UserError
from evonas.search.model_based.acquisition.hypervolume_improvement import HypervolumeImprovement
from evonas.search.ranking import non_dominated
from evonas.search.surrogates.base import Posterior

# as a fraction of the observed range; smaller improvements are rounding errors of copies of front members
_MIN_IMPROVEMENT = 1e-4
_OPTIMISM = -1.5


class CandidatePosterior(Protocol):
    """Posterior of the candidates `rows`, one per objective; `joint` as in `FittedSurrogate.posterior`."""

    def __call__(self, rows: np.ndarray, joint: bool) -> Sequence[Posterior]: ...


@runtime_checkable
class Acquisition(Protocol):
    """Selects candidates by their posterior distribution rather than by a point prediction.

    `observed` has shape (N, M). Returns distinct indices of candidates, best first, at most `count`.
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

    Each selected candidate joins the front with its posterior mean. The reference point lies 10 % of the
    observed range beyond the worst observation in every objective, so that the ends of the front can be
    extended.

    Args:
        pool: number of candidates that are compared, those with the largest optimistic improvement.
        draws: Monte Carlo samples per candidate.

    Raises:
        UserError: `pool` or `draws` is below 1.
    """

    _margin = 0.1
    _is_joint = False

    def __init__(self, pool: int = 300, draws: int = 32) -> None:
        if min(pool, draws) < 1:
            raise UserError(
                f"search.acquisition.pool and search.acquisition.draws must be at least 1, got {pool} and {draws}.",
                "Set search.acquisition.pool and search.acquisition.draws to 1 or more.",
            )
        self._pool, self._draws = pool, draws

    def acquire(
        self,
        posterior: CandidatePosterior,
        candidates: int,
        observed: np.ndarray,
        count: int,
        rng: np.random.Generator,
    ) -> list[int]:
        """See `Acquisition`."""
        best, worst = observed.min(axis=0), observed.max(axis=0)
        margin = self._margin * (worst - best)
        improvement = HypervolumeImprovement(
            observed[non_dominated(observed)], best - margin, worst + margin, rng
        )
        width, rows, least = observed.shape[1], np.arange(candidates), _MIN_IMPROVEMENT * (worst - best)
        optimistic = _values(posterior(rows, joint=False), np.full((1, width), _OPTIMISM))[:, 0]
        pool = rows[np.argsort(-improvement(optimistic + least), kind="stable")[: self._pool]]
        pooled = posterior(pool, joint=self._is_joint)
        # (S, M) quasi-random standard normal deviates from a scrambled Sobol sequence
        sobol = qmc.Sobol(width, rng=rng).random(self._draws)
        deviates = np.asarray(norm.ppf(np.clip(sobol, 1e-4, 1 - 1e-4)))
        chosen: list[int] = []
        for _ in range(min(count, len(pool))):
            expected = improvement(_values(pooled, deviates) + least).mean(axis=1)
            expected[chosen] = -1.0
            chosen.append(int(np.argmax(expected)))
            improvement.add(np.array([each.median()[chosen[-1]] for each in pooled]))
            for objective in pooled:
                objective.condition_on(chosen[-1])
        return [int(pool[at]) for at in chosen]


class BatchEHVI(EHVI):
    """EHVI that conditions the joint posterior on each selected candidate.

    A batch then does not spend several evaluations on the same information. The reference point is the worst
    observed value of every objective. Arguments: see `EHVI`.
    """

    _margin = 0.0
    _is_joint = True


def _values(posterior: Sequence[Posterior], deviations: np.ndarray) -> np.ndarray:
    """(P, S, M) values at (S, M) standard deviations from the mean."""
    return np.stack([each.values_at(deviations[:, at]) for at, each in enumerate(posterior)], axis=2)
