"""Evaluation history and remaining budget of a searcher."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from evonas.errors import UserError
from evonas.search.base import Observation
from evonas.search.operators import sample_initial, sample_unseen
from evonas.search.ranking import non_dominated
from evonas.space.genotype import Genotype
from evonas.space.space import Space

GROUPS = "groups"


class History:
    """Points asked and observed so far; enforces that no point is asked twice or beyond the budget.

    Args:
        space: search space of the points.
        population: points per batch, as configured.
        evaluations: evaluation budget, in points.

    Raises:
        UserError: the batch size or the budget is below 1.
    """

    def __init__(self, space: Space, population: int, evaluations: int) -> None:
        if min(population, evaluations) < 1:
            raise UserError(
                "budget.population and budget.evaluations must be at least 1, "
                f"got {population} and {evaluations}.",
                "Set budget.population and budget.evaluations to at least 1.",
            )
        self.space = space
        self.seen: set[Genotype] = set()
        self.measured: dict[Genotype, tuple[float, ...]] = {}
        self._limit = min(evaluations, space.size())
        self._batch: list[Genotype] = []
        self._pending: set[Genotype] = set()

    @property
    def remaining(self) -> int:
        """Number of points that may still be asked, limited by the budget and by the size of the space."""
        return self._limit - len(self.seen)

    def ask(self, points: Iterable[Genotype]) -> list[Genotype]:
        """Register a batch: the distinct unseen points, truncated to the remaining budget."""
        fresh = [point for point in dict.fromkeys(points) if point not in self.seen]
        self._batch = fresh[: self.remaining]
        self.seen.update(self._batch)
        return list(self._batch)

    def ask_initial(self, given: Iterable[Genotype], count: int, rng: np.random.Generator) -> list[Genotype]:
        """Register a batch of the given points, filled up to `count` with random ones."""
        return self.ask(sample_initial(self.space, rng, given, self.seen, count))

    def ask_random(self, count: int, rng: np.random.Generator) -> list[Genotype]:
        """Register a batch of up to `count` unseen random points."""
        return self.ask(sample_unseen(self.space, rng, self.seen, min(count, self.remaining)))

    def ask_one(self, points: Iterable[Genotype], rng: np.random.Generator) -> Genotype | None:
        """Register the first unseen point, or else a random one; None if the budget is used up."""
        fresh = [point for point in points if point not in self.seen][:1]
        asked = self.ask(fresh) or self.ask_random(1, rng)
        self._batch = []
        self._pending.update(asked)
        return asked[0] if asked else None

    def tell(self, observations: Sequence[Observation]) -> list[Observation]:
        """Record the observations of the last batch; returns the successful ones."""
        assert [each.genotype for each in observations] == self._batch, (
            "tell the whole batch, in the order asked"
        )
        self._batch = []
        return self._record(observations)

    def tell_one(self, observation: Observation) -> list[Observation]:
        """Record the observation of a point from `ask_one`; returns it in a list if it is successful."""
        self._pending.remove(observation.genotype)
        return self._record([observation])

    def _record(self, observations: Sequence[Observation]) -> list[Observation]:
        successful = [observation for observation in observations if is_measured(observation)]
        for observation in successful:
            assert observation.objectives is not None
            self.measured[observation.genotype] = observation.objectives
        return successful

    def points(self) -> list[Genotype]:
        """Successfully evaluated points, in the order told."""
        return list(self.measured)

    def values(self) -> np.ndarray:
        """(N, M) objective values in the order of `points`; shape (0, 0) before the first success."""
        width = len(next(iter(self.measured.values()), ()))
        return np.array(list(self.measured.values()), dtype=float).reshape(len(self.measured), width)

    def front(self) -> list[Genotype]:
        """Non-dominated evaluated points."""
        points = self.points()
        return [points[at] for at in non_dominated(self.values())] if points else []


def is_measured(observation: Observation) -> bool:
    """Whether all objective values exist and are finite; otherwise the evaluation counts as failed."""
    return observation.objectives is not None and all(map(math.isfinite, observation.objectives))


def initial_points(space: Space, start: Iterable[Genotype], corners: bool | str) -> list[Genotype]:
    """The points to ask for first: the given ones, then corners of the space.

    Args:
        start: points to begin with.
        corners: False for none; True for the smallest and the largest architecture; "groups" for these, and for each
            group of genes (resolution, depth, ...) the smallest architecture with the group's largest choices and the
            largest with its smallest. Such ends of the front, narrow networks that read whole images for instance, are
            rare among random points.

    Raises:
        UserError: `corners` is none of these.
    """
    if corners not in (True, False, GROUPS):
        raise UserError(f"search.corners={corners} is unknown.", "search.corners=true, false or groups")
    found = [space.smallest(), space.largest()] if corners else []
    if corners == GROUPS:
        found += [space.smallest({group: "max"}) for group in space.members]
        found += [space.largest({group: "min"}) for group in space.members]
    return [*start, *dict.fromkeys(found)]
