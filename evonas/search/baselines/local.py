"""Pareto local search: evaluates all neighbours of the points of the Pareto front.

Paquete, Chiarandini and Stuetzle, "Pareto local optimum sets in the biobjective traveling
salesman problem", 2004.
"""

from collections.abc import Sequence

from evonas.randomness import generator
from evonas.search.base import Observation
from evonas.search.history import History, initial_points
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class LocalSearch:
    """Asks for neighbours (one step of one gene) of front members, or random points if all were asked.

    Args:
        space: search space.
        seed: random seed.
        population: points per batch; the first batch is random.
        evaluations: evaluation budget, in points.
        corners: architectures to ask for first, see `initial_points`.
        start: points to ask for before all others.

    Raises:
        UserError: the population or the budget is below 1.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int,
        evaluations: int,
        corners: bool | str = True,
        start: Sequence[Genotype] = (),
    ) -> None:
        self._history = History(space, population, evaluations)
        self._space, self._population = space, population
        self._rng = generator(seed, "search.local")
        self._start = initial_points(space, start, corners)
        self._explored: set[Genotype] = set()

    def ask(self) -> list[Genotype]:
        """Next batch of neighbours of front members, in random order; empty when finished."""
        history = self._history
        if not history.seen:
            return history.ask_initial(self._start, self._population, self._rng)
        found = self._neighbours()
        return history.ask(found) or history.ask_random(self._population, self._rng)

    def tell(self, observations: Sequence[Observation]) -> None:
        """Add the successful observations to the history."""
        self._history.tell(observations)

    def _neighbours(self) -> list[Genotype]:
        """One batch of unseen neighbours; marks members without further unseen neighbours as explored."""
        waiting = [point for point in self._history.front() if point not in self._explored]
        found: dict[Genotype, None] = {}
        for at in self._rng.permutation(len(waiting)).tolist():
            near = self._space.neighbours(waiting[at])
            fresh = [point for point in near if point not in self._history.seen and point not in found]
            missing = self._population - len(found)
            found.update(dict.fromkeys(fresh[i] for i in self._rng.permutation(len(fresh))[:missing]))
            if len(fresh) <= missing:
                self._explored.add(waiting[at])
            if len(found) == self._population:
                break
        return list(found)
