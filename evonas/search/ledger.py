"""The book that a searcher keeps: what it asked, what it was told, and how much it may still ask."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from evonas.errors import UserError
from evonas.search.base import Told
from evonas.search.operators import draw_opening, draw_unseen
from evonas.search.ranking import non_dominated
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class Ledger:
    """Holds a searcher to the contract: nothing is asked twice or beyond the budget, failures never count.

    Args:
        space: where the points live.
        population: points per batch, as the user set it.
        evaluations: points in all.

    Raises:
        UserError: for a batch or a budget below one.
    """

    def __init__(self, space: Space, population: int, evaluations: int) -> None:
        if min(population, evaluations) < 1:
            raise UserError(
                f"A search cannot ask {evaluations} points in batches of {population}.",
                "Set budget.population and budget.evaluations to at least 1.",
            )
        self.space = space
        self.seen: set[Genotype] = set()
        self.measured: dict[Genotype, tuple[float, ...]] = {}
        self._limit = min(evaluations, space.size())
        self._open: list[Genotype] = []
        self._flying: set[Genotype] = set()

    @property
    def left(self) -> int:
        """How many points may still be asked: what is left of the budget or of the space."""
        return self._limit - len(self.seen)

    def ask(self, points: Iterable[Genotype]) -> list[Genotype]:
        """Note a batch as asked: the points that are new, each once, cut to the budget."""
        fresh = [point for point in dict.fromkeys(points) if point not in self.seen]
        self._open = fresh[: self.left]
        self.seen.update(self._open)
        return list(self._open)

    def ask_opening(self, given: Iterable[Genotype], count: int, rng: np.random.Generator) -> list[Genotype]:
        """Note a first batch as asked: given points, filled up to `count` with random ones."""
        return self.ask(draw_opening(self.space, rng, given, self.seen, count))

    def ask_random(self, count: int, rng: np.random.Generator) -> list[Genotype]:
        """Note a batch of random points as asked."""
        return self.ask(draw_unseen(self.space, rng, self.seen, min(count, self.left)))

    def ask_one(self, points: Iterable[Genotype], rng: np.random.Generator) -> Genotype | None:
        """Note one point as asked: the first that is new, else a random one; None if nothing may be asked."""
        fresh = [point for point in points if point not in self.seen][:1]
        asked = self.ask(fresh) or self.ask_random(1, rng)
        self._open = []
        self._flying.update(asked)
        return asked[0] if asked else None

    def tell(self, facts: Sequence[Told]) -> list[Told]:
        """Note what was found; the facts that count, which are those with finite values."""
        assert [fact.genotype for fact in facts] == self._open, "tell the whole batch, in the order asked"
        self._open = []
        return self._note(facts)

    def tell_one(self, fact: Told) -> list[Told]:
        """Note what was found at one of the points of `ask_one`; the fact, if it counts."""
        self._flying.remove(fact.genotype)
        return self._note([fact])

    def _note(self, facts: Sequence[Told]) -> list[Told]:
        counted = [fact for fact in facts if is_measured(fact)]
        for fact in counted:
            assert fact.objectives is not None
            self.measured[fact.genotype] = fact.objectives
        return counted

    def points(self) -> list[Genotype]:
        """Every measured point, in the order told."""
        return list(self.measured)

    def values(self) -> np.ndarray:
        """(N, M) objective values in the order of `points`; (0, 0) before anything was measured."""
        width = len(next(iter(self.measured.values()), ()))
        return np.array(list(self.measured.values()), dtype=float).reshape(len(self.measured), width)

    def front(self) -> list[Genotype]:
        """The measured points that no measured point dominates."""
        points = self.points()
        return [points[at] for at in non_dominated(self.values())] if points else []


def is_measured(fact: Told) -> bool:
    """Whether a fact has values, all of them finite; anything else is a failure."""
    return fact.objectives is not None and all(map(math.isfinite, fact.objectives))


def opening_points(space: Space, start: Iterable[Genotype], corners: bool) -> list[Genotype]:
    """Given points, then perhaps the two ends of the space, which a front of error and cost should reach."""
    return [*start, *(dict.fromkeys((space.smallest(), space.largest())) if corners else ())]
