"""A ranked pool: many random points, asked in the order of a score that costs nothing."""

from collections.abc import Sequence

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.search.analytic_objectives import Cheap
from evonas.search.base import Told
from evonas.search.ledger import Ledger
from evonas.search.operators import draw_unseen
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class RankedPool:
    """Zero-cost search: draws `pool` points, asks the best first, and draws again when few are left.

    Args:
        space: where to look.
        seed: of everything random.
        population: points per batch.
        evaluations: points in all.
        score: what ranks a pool, smallest first: a closed form, or a proxy with its sign turned.
        pool: points drawn at a time.
        start: points asked before all others.

    Raises:
        UserError: for an empty budget or pool.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int,
        evaluations: int,
        score: Cheap,
        pool: int = 1000,
        start: Sequence[Genotype] = (),
    ) -> None:
        self._ledger = Ledger(space, population, evaluations)
        if pool < population:
            raise UserError(
                f"A pool of {pool} cannot fill a batch of {population}.",
                "Set search.pool to the batch at least.",
            )
        self._space, self._score = space, score
        self._population, self._size = population, pool
        self._rng = generator(seed, "search.pool")
        self._waiting: list[Genotype] = list(start)

    def ask(self) -> list[Genotype]:
        """The best points of the pool that were not asked yet; empty when finished."""
        fresh = [point for point in self._waiting if point not in self._ledger.seen]
        if len(fresh) < self._population:
            drawn = draw_unseen(self._space, self._rng, self._ledger.seen.union(fresh), self._size)
            fresh += sorted(drawn, key=lambda point: (self._score(self._space, point), point))
        asked, self._waiting = fresh[: self._population], fresh[self._population :]
        return self._ledger.ask(asked)

    def tell(self, facts: Sequence[Told]) -> None:
        """Facts do not change the order of a pool."""
        self._ledger.tell(facts)
