"""Selection of predicted points by a roulette wheel, as EDNAG chooses the MobileNetV3 networks that it trains.

P predicted points, M minimised objectives.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from evonas.errors import UserError
from evonas.search.analytic_objectives import AnalyticObjective
from evonas.search.diffusion.ednag import SizeRanking
from evonas.search.diffusion.fitness import Fitness, SingleObjectiveFitness
from evonas.search.ranking import best_first
from evonas.space.genotype import Genotype
from evonas.space.space import Space


@runtime_checkable
class PointSelection(Protocol):
    """Selects points by more than their predicted objectives."""

    def select_points(
        self,
        space: Space,
        points: Sequence[Genotype],
        predicted: np.ndarray,
        count: int,
        rng: np.random.Generator,
    ) -> list[int]:
        """Distinct indices into (P) points with (P, M) predictions, at most `count`."""
        ...


class Roulette:
    """The smallest networks of a pool, then a roulette wheel on predicted fitness (Zhou and Tang, arXiv 2504.17827).

    Args:
        fitness: maps predicted objectives to fitness, such as `AccuracyFitness`.
        lower_params: fraction of the points selected by fewest parameters, rounded down; as published 0.1.
        params: the number of parameters of a point, or what ranks points alike; None counts layers.
        pool: number of predictions to select from, the best by front and crowding distance.

    Raises:
        UserError: `pool` is below 1, or `lower_params` outside of [0, 1].
    """

    def __init__(
        self,
        fitness: Fitness,
        lower_params: float = 0.1,
        params: AnalyticObjective | None = None,
        pool: int = 100,
    ) -> None:
        if pool < 1 or not 0 <= lower_params <= 1:
            raise UserError(
                "search.acquisition.pool must be at least 1 and search.acquisition.lower_params in [0, 1], "
                f"got {pool} and {lower_params}.",
                "Try: search.acquisition.pool=100 search.acquisition.lower_params=0.1",
            )
        self._fitness, self._lower_params, self._params, self._pool = fitness, lower_params, params, pool

    def check_objectives(self, names: Sequence[str]) -> None:
        """Raise a UserError if the fitness would pass over some of the objectives."""
        if isinstance(self._fitness, SingleObjectiveFitness):
            self._fitness.check_objectives(names)

    def select_points(
        self,
        space: Space,
        points: Sequence[Genotype],
        predicted: np.ndarray,
        count: int,
        rng: np.random.Generator,
    ) -> list[int]:
        """See `PointSelection`; points of fitness 0 are drawn last."""
        pool = best_first(predicted)[: self._pool]
        count = min(count, len(pool))
        small = int(self._lower_params * count)
        chosen: list[int] = []
        if small:
            sizes = SizeRanking(space, self._params)([points[at] for at in pool])
            # `pool` is best first, and so are networks of equal size
            chosen = np.argsort(sizes, kind="stable")[:small].tolist()
        weights = np.maximum(self._fitness(predicted[pool]), 0.0) + 1e-9
        weights[chosen] = 0.0
        drawn = rng.choice(len(pool), count - len(chosen), replace=False, p=weights / weights.sum())
        return [int(pool[at]) for at in [*chosen, *drawn.tolist()]]
