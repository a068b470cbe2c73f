"""Candidates for a model: everything one step from the front, and a few points from anywhere."""

from collections.abc import Sequence

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.search.base import Told
from evonas.search.ledger import Ledger
from evonas.search.operators import draw_unseen
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class Surroundings:
    """A proposer that looks around: it asks its start, then all neighbours of what is best of it, once.

    A model of a few facts is right near them and wrong far off, so that looking everywhere finds its errors
    first. Random points keep the search from ending where a front has no better neighbour.

    Args:
        space: where to look.
        seed: of the random points.
        far: random points beside the neighbours.
        start: the facts.

    Raises:
        UserError: for a negative number of random points.
    """

    def __init__(self, space: Space, seed: int, far: int = 300, start: Sequence[Genotype] = ()) -> None:
        if far < 0:
            raise UserError(f"far is {far}.", "Set search.proposer.far to 0 or more.")
        self._ledger = Ledger(space, 1, space.size())
        self._space, self._far, self._start = space, far, list(start)
        self._rng = generator(seed, "search.surroundings")
        self._is_done = False

    def ask(self) -> list[Genotype]:
        """The start, then its surroundings, then nothing more."""
        if self._start and not self._ledger.seen:
            return self._ledger.ask(self._start)
        if self._is_done:
            return []
        self._is_done = True
        near = [point for member in self._ledger.front() for point in self._space.neighbours(member)]
        seen = self._ledger.seen.union(near)
        count = min(self._far, self._space.size() - len(seen))
        return self._ledger.ask([*near, *draw_unseen(self._space, self._rng, seen, count)])

    def tell(self, facts: Sequence[Told]) -> None:
        """Note the facts, of which the front counts."""
        self._ledger.tell(facts)
