"""Expected hypervolume improvement: measure what may improve the front most, by how sure the model is.

Emmerich, Giannakoglou and Naujoks, "Single- and multiobjective evolutionary optimization assisted by Gaussian
random field metamodels", 2006. Batches by believing what was chosen: Ginsbourger, Le Riche and Carraro,
"Kriging is well-suited to parallelize optimization", 2010. P points, S draws, M objectives, F facts.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.stats import norm, qmc

from evonas.errors import UserError
from evonas.search.model_based.acquisition.hypervolume_improvement import Room
from evonas.search.ranking import non_dominated
from evonas.search.surrogates.joint_posterior import Together

Outcomes = Callable[[np.ndarray, np.ndarray], np.ndarray]
_MARGIN = 0.1
_LEAST = 1e-4
_OPTIMISM = -1.5


@runtime_checkable
class Weighing(Protocol):
    """A choice that looks at what points may turn out to be, and not at one prediction of each.

    `outcomes(rows, deviations)` gives (P, S, M) values of some rows of the candidates, at (S, M) deviations
    from their middle; `facts` are (F, M). The answer is that of `Choice.choose`.
    """

    def weigh(
        self, outcomes: Together, candidates: int, facts: np.ndarray, count: int, rng: np.random.Generator
    ) -> list[int]: ...


class ExpectedGain:
    """The points that add most hypervolume on average over what they may turn out to be.

    The box reaches a tenth beyond the worst fact in every objective, so that ends of the front count too.

    Args:
        pool: how many candidates are weighed, those that would gain most if all went well.
        draws: of what each may turn out to be.

    Raises:
        UserError: for a pool or a number of draws below one.
    """

    def __init__(self, pool: int = 300, draws: int = 32) -> None:
        self._pool, self._draws = at_least_one(pool, draws)

    def weigh(
        self, outcomes: Outcomes, candidates: int, facts: np.ndarray, count: int, rng: np.random.Generator
    ) -> list[int]:
        """Greedy picks; each is believed to turn out as expected before the next is picked."""
        best, worst = facts.min(axis=0), facts.max(axis=0)
        reach = worst - best
        room = Room(facts[non_dominated(facts)], best - _MARGIN * reach, worst + _MARGIN * reach, rng)
        width, whole = facts.shape[1], np.arange(candidates)
        # less than this is no gain, or rounding would make front members of copies
        least = _LEAST * reach
        hopeful = room.gains(outcomes(whole, np.full((1, width), _OPTIMISM))[:, 0] + least)
        pool = whole[np.argsort(-hopeful, kind="stable")[: self._pool]]
        drawn = outcomes(pool, deviations_of(self._draws, width, rng)) + least
        middle = outcomes(pool, np.zeros((1, width)))[:, 0]
        chosen: list[int] = []
        for _ in range(min(count, len(pool))):
            gains = room.gains(drawn).mean(axis=1)
            gains[chosen] = -1.0
            chosen.append(int(np.argmax(gains)))
            room.take(middle[chosen[-1]])
        return [int(pool[at]) for at in chosen]


def at_least_one(pool: int, draws: int) -> tuple[int, int]:
    """Both as they are; a UserError where one is below 1."""
    if min(pool, draws) < 1:
        raise UserError(
            f"pool is {pool} and draws {draws}.",
            "Set search.choice.pool and search.choice.draws to 1 or more.",
        )
    return pool, draws


def deviations_of(draws: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """(S, M) normal deviates that fill their space evenly."""
    sobol = qmc.Sobol(width, rng=rng)
    return np.asarray(norm.ppf(np.clip(sobol.random(draws), 1e-4, 1 - 1e-4)))
