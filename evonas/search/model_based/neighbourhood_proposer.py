"""Proposes candidates to a surrogate: all neighbours of the observed front and some random points."""

from collections.abc import Sequence

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.search.base import Observation
from evonas.search.history import History
from evonas.search.operators import sample_unseen
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class NeighbourhoodProposer:
    """Asks for the observed points, then once for the neighbours of their front and for random points.

    A surrogate of few observations extrapolates badly, so optimising it over the whole space exploits its
    errors. The random points keep the search from stalling at a locally optimal front.

    Args:
        space: search space.
        seed: random seed.
        far: number of random points.
        start: observed points.

    Raises:
        UserError: `far` is negative.
    """

    def __init__(self, space: Space, seed: int, far: int = 300, start: Sequence[Genotype] = ()) -> None:
        if far < 0:
            raise UserError(
                f"search.proposer.far must be at least 0, got {far}.", "Try: search.proposer.far=300"
            )
        self._history = History(space, 1, space.size())
        self._space, self._far, self._start = space, far, list(start)
        self._rng = generator(seed, "search.surroundings")
        self._is_done = False

    def ask(self) -> list[Genotype]:
        """The observed points, then the neighbours and random points, then an empty list."""
        if self._start and not self._history.seen:
            return self._history.ask(self._start)
        if self._is_done:
            return []
        self._is_done = True
        near = [point for member in self._history.front() for point in self._space.neighbours(member)]
        seen = self._history.seen.union(near)
        count = min(self._far, self._space.size() - len(seen))
        return self._history.ask([*near, *sample_unseen(self._space, self._rng, seen, count)])

    def tell(self, observations: Sequence[Observation]) -> None:
        """Record the observations."""
        self._history.tell(observations)
