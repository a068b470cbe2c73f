"""Random search: the baseline that every other searcher has to beat."""

from collections.abc import Sequence

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.search.base import Told
from evonas.search.operators import draw_unseen
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class RandomSearch:
    """Asks for distinct random points until the budget or the space is used up.

    Args:
        space: where to look.
        seed: of everything random.
        population: points per batch.
        evaluations: points in all.

    Raises:
        UserError: for a budget below one.
    """

    def __init__(self, space: Space, seed: int, population: int, evaluations: int) -> None:
        if min(population, evaluations) < 1:
            raise UserError(
                f"Random search cannot ask {evaluations} points in batches of {population}.",
                "Set budget.population and budget.evaluations to at least 1.",
            )
        self._space = space
        self._rng = generator(seed, "search.random")
        self._population = population
        self._evaluations = evaluations
        self._seen: set[Genotype] = set()

    def ask(self) -> list[Genotype]:
        """The next batch; empty when finished."""
        count = min(self._population, self._evaluations - len(self._seen))
        asked = draw_unseen(self._space, self._rng, self._seen, count)
        self._seen.update(asked)
        return asked

    def tell(self, facts: Sequence[Told]) -> None:
        """Facts do not change where random search looks."""
