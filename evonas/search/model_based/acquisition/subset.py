"""Which of many predicted points are worth a measurement.

The contract. `choose` receives (P, M) predictions of unseen points, the (F, M) recorded front,
how many to choose, and a generator; it returns distinct indices into the predictions, best
first, at most that many. All objectives are minimised.
"""

from typing import Protocol

import moocore
import numpy as np

from evonas.errors import UserError
from evonas.search.ranking import best_first, non_dominated, to_unit

_REACH = 1.1


class Choice(Protocol):
    """See the module's contract."""

    def choose(
        self, predicted: np.ndarray, front: np.ndarray, count: int, rng: np.random.Generator
    ) -> list[int]: ...


class Best:
    """The first ones by front and crowding among the predictions; what LINAS does."""

    def choose(
        self, predicted: np.ndarray, front: np.ndarray, count: int, rng: np.random.Generator
    ) -> list[int]:
        """Ignores the recorded front."""
        del front, rng
        return [int(at) for at in best_first(predicted)[:count]]


class Spread:
    """Evens out one objective: the gaps between the recorded front and the chosen become alike.

    NSGANetV2's subset selection (Lu et al., ECCV 2020, section 3.3): minimises the standard
    deviation of consecutive gaps of the second objective. Swaps are tried until none helps,
    where the original runs a genetic algorithm. Accuracy plays no role here: the pool is
    good already.

    Args:
        along: position of the objective whose gaps count; the last one where there are fewer.
        pool: how many of the predictions, the best by front and crowding, are considered.

    Raises:
        UserError: for a pool below one or a negative position.
    """

    def __init__(self, along: int = 1, pool: int = 40) -> None:
        if pool < 1 or along < 0:
            raise UserError(
                f"pool is {pool} and along {along}.",
                "Set search.choice.pool from 1, search.choice.along from 0.",
            )
        self._along, self._pool = along, pool

    def choose(
        self, predicted: np.ndarray, front: np.ndarray, count: int, rng: np.random.Generator
    ) -> list[int]:
        """A subset of the pool that no single swap improves."""
        pool = best_first(predicted)[: self._pool]
        if len(pool) <= count:
            return [int(at) for at in pool]
        along = min(self._along, predicted.shape[1] - 1)
        places, fixed = predicted[pool, along], front[:, along]
        order = rng.permutation(len(pool))
        chosen, others = order[:count], order[count:]
        best, is_improving = _unevenness(fixed, places[chosen]), True
        while is_improving:
            is_improving = False
            for i in range(len(chosen)):
                for j in range(len(others)):
                    chosen[i], others[j] = others[j], chosen[i]
                    trial = _unevenness(fixed, places[chosen])
                    if trial < best - 1e-12:
                        best, is_improving = trial, True
                    else:
                        chosen[i], others[j] = others[j], chosen[i]
        return [int(pool[at]) for at in np.sort(chosen)]


class HypervolumeGain:
    """The points that, one after the other, would add most hypervolume to the recorded front.

    Objectives are scaled by the recorded front and the pool, the reference is at 1.1. Greedy, as in
    Guerreiro et al., "Greedy hypervolume subset selection in low dimensions", 2016.

    Args:
        pool: how many of the predictions, the best by front and crowding, are considered.

    Raises:
        UserError: for a pool below one.
    """

    def __init__(self, pool: int = 100) -> None:
        if pool < 1:
            raise UserError(f"pool is {pool}.", "Set search.choice.pool to 1 or more.")
        self._pool = pool

    def choose(
        self, predicted: np.ndarray, front: np.ndarray, count: int, rng: np.random.Generator
    ) -> list[int]:
        """Greedy picks; where none would gain, the best by front and crowding."""
        del rng
        pool = best_first(predicted)[: self._pool]
        scaled = to_unit(np.vstack([front, predicted[pool]]))
        known, offered = scaled[: len(front)], scaled[len(front) :]
        chosen: list[int] = []
        for _ in range(min(count, len(pool))):
            free = [at for at in range(len(pool)) if at not in chosen]
            gains = [_volume(np.vstack([known, offered[at]])) for at in free]
            if max(gains) <= _volume(known) + 1e-12:
                chosen += free[: count - len(chosen)]
                break
            chosen.append(free[int(np.argmax(gains))])
            known = np.vstack([known, offered[chosen[-1]]])
        return [int(pool[at]) for at in chosen]


def _unevenness(fixed: np.ndarray, chosen: np.ndarray) -> float:
    return float(np.std(np.diff(np.sort(np.concatenate([fixed, chosen])))))


def _volume(values: np.ndarray) -> float:
    kept = values[non_dominated(values)]
    return float(moocore.hypervolume(kept, ref=np.full(values.shape[1], _REACH)))
