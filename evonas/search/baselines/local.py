"""Pareto local search: look at every neighbour of a good point before going on to the next.

Paquete, Chiarandini and Stuetzle, "Pareto local optimum sets in the biobjective traveling
salesman problem", 2004: the front is explored member by member until all of it is.
"""

from collections.abc import Sequence

from evonas.randomness import generator
from evonas.search.base import Told
from evonas.search.ledger import Ledger, opening_points
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class LocalSearch:
    """Asks the neighbours (one step of one gene) of front members; where all are known, random points.

    Args:
        space: where to look.
        seed: of everything random.
        population: points per batch, and random points at the beginning.
        evaluations: points in all.
        corners: whether the smallest and the largest point are asked first.
        start: points asked before all others.

    Raises:
        UserError: for an empty budget.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int,
        evaluations: int,
        corners: bool = True,
        start: Sequence[Genotype] = (),
    ) -> None:
        self._ledger = Ledger(space, population, evaluations)
        self._space, self._population = space, population
        self._rng = generator(seed, "search.local")
        self._start = opening_points(space, start, corners)
        self._explored: set[Genotype] = set()

    def ask(self) -> list[Genotype]:
        """Neighbours of members of the front, in random order; empty when nothing may be asked any more."""
        ledger = self._ledger
        if not ledger.seen:
            return ledger.ask_opening(self._start, self._population, self._rng)
        found = self._neighbours()
        return ledger.ask(found) or ledger.ask_random(self._population, self._rng)

    def tell(self, facts: Sequence[Told]) -> None:
        """Let the measured points join the front; failed ones never do."""
        self._ledger.tell(facts)

    def _neighbours(self) -> list[Genotype]:
        """One batch of unasked neighbours; members whose neighbours are all known count as explored."""
        waiting = [point for point in self._ledger.front() if point not in self._explored]
        found: dict[Genotype, None] = {}
        for at in self._rng.permutation(len(waiting)).tolist():
            near = self._space.neighbours(waiting[at])
            fresh = [point for point in near if point not in self._ledger.seen and point not in found]
            missing = self._population - len(found)
            found.update(dict.fromkeys(fresh[i] for i in self._rng.permutation(len(fresh))[:missing]))
            if len(fresh) <= missing:
                self._explored.add(waiting[at])
            if len(found) == self._population:
                break
        return list(found)
