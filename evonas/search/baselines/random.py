"""Random search, the baseline of all other searchers."""

from collections.abc import Sequence

from evonas.randomness import generator
from evonas.search.base import Observation
from evonas.search.history import History
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class RandomSearch:
    """Asks for distinct random points until the budget or the space is exhausted.

    Args:
        space: search space.
        seed: random seed.
        population: points per batch.
        evaluations: evaluation budget, in points.
        start: points to ask for before all others.

    Raises:
        UserError: the population or the budget is below 1.
    """

    def __init__(
        self, space: Space, seed: int, population: int, evaluations: int, start: Sequence[Genotype] = ()
    ) -> None:
        self._history = History(space, population, evaluations)
        self._population = population
        self._start = start
        self._rng = generator(seed, "search.random")

    def ask(self) -> list[Genotype]:
        """The next batch; empty when finished."""
        if not self._history.seen:
            return self._history.ask_initial(self._start, self._population, self._rng)
        return self._history.ask_random(self._population, self._rng)

    def tell(self, observations: Sequence[Observation]) -> None:
        """Record the observations; they do not influence later points."""
        self._history.tell(observations)

    def ask_one(self) -> Genotype | None:
        """The next point; None when finished."""
        return self._history.ask_one(self._start, self._rng)

    def tell_one(self, observation: Observation) -> None:
        """Record the observation; it does not influence later points."""
        self._history.tell_one(observation)
