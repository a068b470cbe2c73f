"""Random search: the baseline that every other searcher has to beat."""

from collections.abc import Sequence

from evonas.randomness import generator
from evonas.search.base import Told
from evonas.search.ledger import Ledger
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class RandomSearch:
    """Asks for distinct random points until the budget or the space is used up.

    Args:
        space: where to look.
        seed: of everything random.
        population: points per batch.
        evaluations: points in all.
        start: points asked before all others.

    Raises:
        UserError: for a budget below one.
    """

    def __init__(
        self, space: Space, seed: int, population: int, evaluations: int, start: Sequence[Genotype] = ()
    ) -> None:
        self._ledger = Ledger(space, population, evaluations)
        self._population = population
        self._start = start
        self._rng = generator(seed, "search.random")

    def ask(self) -> list[Genotype]:
        """The next batch; empty when finished."""
        if not self._ledger.seen:
            return self._ledger.ask_opening(self._start, self._population, self._rng)
        return self._ledger.ask_random(self._population, self._rng)

    def tell(self, facts: Sequence[Told]) -> None:
        """Facts do not change where random search looks."""
        self._ledger.tell(facts)

    def ask_one(self) -> Genotype | None:
        """The next point; None when finished."""
        return self._ledger.ask_one(self._start, self._rng)

    def tell_one(self, fact: Told) -> None:
        """A fact does not change where random search looks."""
        self._ledger.tell_one(fact)
