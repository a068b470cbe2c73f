"""Subset selection: which of many predicted points to evaluate.

P predicted points, F points of the observed front, M minimised objectives.
"""

from typing import Protocol

import moocore
import numpy as np

from evonas.errors import UserError
from evonas.search.ranking import best_first, non_dominated, to_unit

_REFERENCE = 1.1


class SubsetSelection(Protocol):
    """Selects points by their predicted objectives.

    `select` takes (P, M) predictions of unseen points, the (F, M) observed front, the number of points to
    select and a random generator. It returns distinct indices into the predictions, best first, at most
    `count`.
    """

    def select(
        self, predicted: np.ndarray, front: np.ndarray, count: int, rng: np.random.Generator
    ) -> list[int]: ...


class RankAndCrowding:
    """The best predictions by front and crowding distance, as in LINAS."""

    def select(
        self, predicted: np.ndarray, front: np.ndarray, count: int, rng: np.random.Generator
    ) -> list[int]:
        """See `SubsetSelection`; ignores the observed front."""
        del front, rng
        return [int(at) for at in best_first(predicted)[:count]]


class EvenSpacing:
    """Subset that evens out the gaps of the front along one objective, as in NSGANetV2.

    Minimises the standard deviation of consecutive gaps of the second objective (Lu et al., ECCV 2020,
    section 3.3) by pairwise swaps until no swap helps; the original uses a genetic algorithm.

    Args:
        along: index of the objective whose gaps are evened out, capped at the last objective.
        pool: number of predictions to select from, the best by front and crowding distance.

    Raises:
        UserError: `pool` is below 1 or `along` is negative.
    """

    def __init__(self, along: int = 1, pool: int = 40) -> None:
        if pool < 1 or along < 0:
            raise UserError(
                f"search.acquisition.pool must be at least 1 and search.acquisition.along at least 0, "
                f"got {pool} and {along}.",
                "Try: search.acquisition.pool=40 search.acquisition.along=1",
            )
        self._along, self._pool = along, pool

    def select(
        self, predicted: np.ndarray, front: np.ndarray, count: int, rng: np.random.Generator
    ) -> list[int]:
        """See `SubsetSelection`; returns a subset of the pool that no single swap improves."""
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


class HypervolumeSubset:
    """Greedy hypervolume subset selection.

    Objectives are scaled to [0, 1] over the observed front and the pool; the reference point is 1.1.
    Guerreiro et al., "Greedy hypervolume subset selection in low dimensions", 2016.

    Args:
        pool: number of predictions to select from, the best by front and crowding distance.

    Raises:
        UserError: `pool` is below 1.
    """

    def __init__(self, pool: int = 100) -> None:
        if pool < 1:
            raise UserError(
                f"search.acquisition.pool must be at least 1, got {pool}.", "Try: search.acquisition.pool=100"
            )
        self._pool = pool

    def select(
        self, predicted: np.ndarray, front: np.ndarray, count: int, rng: np.random.Generator
    ) -> list[int]:
        """See `SubsetSelection`; without any hypervolume gain, the best by front and crowding distance."""
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
    return float(moocore.hypervolume(kept, ref=np.full(values.shape[1], _REFERENCE)))
