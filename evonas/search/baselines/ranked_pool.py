"""Zero-cost search: evaluates random points in the order of an analytic score."""

import math
from collections.abc import Sequence

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.search.analytic_objectives import AnalyticObjective
from evonas.search.base import Observation
from evonas.search.history import History
from evonas.search.operators import sample_unseen
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class RankedPool:
    """Samples `pool` random points, asks for them in the order of their score, and refills the pool.

    Args:
        space: search space.
        seed: random seed.
        population: points per batch.
        evaluations: evaluation budget, in points.
        score: analytic objective or negated zero-cost proxy; the smallest score is asked first.
        pool: points sampled at a time.
        start: points to ask for before all others.

    Raises:
        UserError: the budget is below 1, or the pool is smaller than the population.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int,
        evaluations: int,
        score: AnalyticObjective,
        pool: int = 1000,
        start: Sequence[Genotype] = (),
    ) -> None:
        self._history = History(space, population, evaluations)
        if pool < population:
            raise UserError(
                f"search.pool must be at least budget.population = {population}, got {pool}.",
                f"Set search.pool={population} or more.",
            )
        self._space, self._score = space, score
        self._population, self._size = population, pool
        self._rng = generator(seed, "search.pool")
        self._waiting: list[Genotype] = list(start)

    def ask(self) -> list[Genotype]:
        """Next batch: the unseen points of the pool with the smallest scores; empty when finished."""
        fresh = [point for point in self._waiting if point not in self._history.seen]
        if len(fresh) < self._population:
            drawn = sample_unseen(self._space, self._rng, self._history.seen.union(fresh), self._size)
            fresh += sorted(drawn, key=lambda point: (self._finite_score(point), point))
        asked, self._waiting = fresh[: self._population], fresh[self._population :]
        return self._history.ask(asked)

    def _finite_score(self, point: Genotype) -> float:
        """The score; infinite where it is not a number, which would leave the order to chance."""
        score = self._score(self._space, point)
        return math.inf if math.isnan(score) else score

    def tell(self, observations: Sequence[Observation]) -> None:
        """Record the observations; they do not influence later points."""
        self._history.tell(observations)
