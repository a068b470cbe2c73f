"""A batch chosen together: what one measurement will say of points like it counts before the next is chosen.

Expected hypervolume gain with the doubts of a batch conditioned on one another, as in Ginsbourger, Le Riche
and Carraro, "Kriging is well-suited to parallelize optimization", 2010. P points, S draws, M objectives,
F facts.
"""

from collections.abc import Sequence

import numpy as np

from evonas.search.model_based.acquisition.ehvi import at_least_one, deviations_of
from evonas.search.model_based.acquisition.hypervolume_improvement import Room
from evonas.search.ranking import non_dominated
from evonas.search.surrogates.joint_posterior import Part, Together

_LEAST = 1e-4
_OPTIMISM = -1.5


class GainTogether:
    """The points that add most hypervolume on average, without asking twice for one piece of news.

    The box ends at the worst facts: what is worse than any of them in one objective adds nothing.

    Args:
        pool: how many candidates are weighed, those that would gain most if all went well.
        draws: of what each may turn out to be.

    Raises:
        UserError: for a pool or a number of draws below one.
    """

    def __init__(self, pool: int = 300, draws: int = 32) -> None:
        self._pool, self._draws = at_least_one(pool, draws)

    def weigh(
        self, outcomes: Together, candidates: int, facts: np.ndarray, count: int, rng: np.random.Generator
    ) -> list[int]:
        """Greedy picks; each is believed to turn out as expected, and what is like it to be less doubtful."""
        best, worst = facts.min(axis=0), facts.max(axis=0)
        room = Room(facts[non_dominated(facts)], best, worst, rng)
        width, whole, least = facts.shape[1], np.arange(candidates), _LEAST * (worst - best)
        hopeful = room.gains(outcomes(whole, np.full((1, width), _OPTIMISM))[:, 0] + least)
        pool = whole[np.argsort(-hopeful, kind="stable")[: self._pool]]
        parts, drawn = outcomes.joint(pool), deviations_of(self._draws, width, rng)
        chosen: list[int] = []
        for _ in range(min(count, len(pool))):
            gains = room.gains(_values(parts, drawn) + least).mean(axis=1)
            gains[chosen] = -1.0
            chosen.append(int(np.argmax(gains)))
            room.take(_values(parts, np.zeros((1, width)))[chosen[-1], 0])
            for part in parts:
                part.believe(chosen[-1])
        return [int(pool[at]) for at in chosen]


def _values(parts: Sequence[Part], deviations: np.ndarray) -> np.ndarray:
    """(P, S, M) at (S, M) deviations."""
    return np.stack([part.outcomes(deviations[:, at]) for at, part in enumerate(parts)], axis=2)
