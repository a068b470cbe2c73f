"""Batch expected hypervolume improvement with conditioned posteriors.

After each selected candidate the posterior of the others is conditioned on it (Ginsbourger, Le Riche and
Carraro, "Kriging is well-suited to parallelize optimization", 2010), so that a batch does not spend several
evaluations on the same information. P candidates, S Monte Carlo samples, M objectives, N observations.
"""

from collections.abc import Sequence

import numpy as np

from evonas.search.model_based.acquisition.ehvi import at_least_one, normal_deviates
from evonas.search.model_based.acquisition.hypervolume_improvement import HypervolumeImprovement
from evonas.search.ranking import non_dominated
from evonas.search.surrogates.joint_posterior import BatchPosterior, CandidatePosterior

_MIN_IMPROVEMENT = 1e-4
_OPTIMISM = -1.5


class BatchEHVI:
    """Greedy batch by expected hypervolume improvement, conditioned on the candidates selected before.

    The reference point is the worst observed value of every objective.

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
        posterior: CandidatePosterior,
        candidates: int,
        observed: np.ndarray,
        count: int,
        rng: np.random.Generator,
    ) -> list[int]:
        """See `Acquisition`; each selected candidate joins the front and conditions the posterior."""
        best, worst = observed.min(axis=0), observed.max(axis=0)
        improvement = HypervolumeImprovement(observed[non_dominated(observed)], best, worst, rng)
        width, rows, least = observed.shape[1], np.arange(candidates), _MIN_IMPROVEMENT * (worst - best)
        optimistic = improvement(posterior(rows, np.full((1, width), _OPTIMISM))[:, 0] + least)
        pool = rows[np.argsort(-optimistic, kind="stable")[: self._pool]]
        joint, deviates = posterior.joint(pool), normal_deviates(self._draws, width, rng)
        chosen: list[int] = []
        for _ in range(min(count, len(pool))):
            expected = improvement(_values(joint, deviates) + least).mean(axis=1)
            expected[chosen] = -1.0
            chosen.append(int(np.argmax(expected)))
            improvement.add(_values(joint, np.zeros((1, width)))[chosen[-1], 0])
            for objective in joint:
                objective.condition_on(chosen[-1])
        return [int(pool[at]) for at in chosen]


def _values(joint: Sequence[BatchPosterior], deviations: np.ndarray) -> np.ndarray:
    """(P, S, M) values at (S, M) standard deviations from the mean."""
    return np.stack([each.values_at(deviations[:, at]) for at, each in enumerate(joint)], axis=2)
