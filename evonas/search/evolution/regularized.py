"""Regularized (aging) evolution.

Real et al., "Regularized evolution for image classifier architecture search", AAAI 2019. For several
objectives, each tournament compares the augmented Chebyshev scalarisation with its own random weights.
"""

from collections import deque
from collections.abc import Collection, Sequence

import numpy as np

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.search.base import Observation
from evonas.search.history import History, initial_points
from evonas.search.operators import mutate_one
from evonas.search.ranking import chebyshev
from evonas.space.genotype import Genotype
from evonas.space.space import Space

_MAX_MUTATIONS = 50


class RegularizedEvolution:
    """Mutates the winner of a tournament and removes the oldest member of the population.

    Args:
        space: search space.
        seed: random seed.
        population: size of the population and of the first batch.
        evaluations: evaluation budget, in points.
        tournament: tournament size.
        batch: children per batch, which are evaluated in parallel.
        weights: scalarisation weight of each objective; [1, 0] minimises the first alone. None draws
            weights for each tournament.
        corners: architectures to ask for first, see `initial_points`.
        start: points to ask for before all others.

    Raises:
        UserError: the budget, the tournament or the batch is below 1, or the weights are invalid.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int,
        evaluations: int,
        tournament: int = 10,
        batch: int = 1,
        weights: Sequence[float] | None = None,
        corners: bool | str = True,
        start: Sequence[Genotype] = (),
    ) -> None:
        self._history = History(space, population, evaluations)
        if min(tournament, batch) < 1:
            raise UserError(
                f"search.tournament and search.batch must be at least 1, got {tournament} and {batch}.",
                "Set search.tournament and search.batch to 1 or more.",
            )
        self._weights = None if weights is None else _check(weights)
        self._space, self._population = space, population
        self._tournament, self._batch = tournament, batch
        self._rng = generator(seed, "search.regularized")
        self._members: deque[Genotype] = deque(maxlen=population)
        self._start = initial_points(space, start, corners)

    def check_objectives(self, names: Sequence[str]) -> None:
        """Raise a UserError unless there is a weight for each objective."""
        if self._weights is not None:
            require_weights(self._weights, len(names))

    def ask(self) -> list[Genotype]:
        """The first population, later a batch of children; empty when finished."""
        history = self._history
        if not history.seen:
            return history.ask_initial(self._start, self._population, self._rng)
        if not self._members:
            return history.ask_random(self._batch, self._rng)
        children: dict[Genotype, None] = {}
        for _ in range(min(self._batch, history.remaining)):
            child = self._child(children)
            if child is not None:
                children[child] = None
        return history.ask(children) or history.ask_random(self._batch, self._rng)

    def tell(self, observations: Sequence[Observation]) -> None:
        """Add the successful points to the population."""
        self._members.extend(observation.genotype for observation in self._history.tell(observations))

    def ask_one(self) -> Genotype | None:
        """A point of the first population, later a child; None when finished."""
        history = self._history
        if len(history.seen) < self._population:
            return history.ask_one(self._start, self._rng)
        child = self._child(()) if self._members and history.remaining > 0 else None
        return history.ask_one(() if child is None else (child,), self._rng)

    def tell_one(self, observation: Observation) -> None:
        """Add a successful point to the population."""
        self._members.extend(each.genotype for each in self._history.tell_one(observation))

    def _child(self, others: Collection[Genotype]) -> Genotype | None:
        """An unseen point one or more mutations from a tournament winner; None if none is found."""
        size = min(self._tournament, len(self._members))
        rivals = [self._members[at] for at in self._rng.choice(len(self._members), size, replace=False)]
        values = np.array([self._history.measured[rival] for rival in rivals])
        weights = scalarisation_weights(self._weights, values.shape[1], self._rng)
        child = rivals[int(np.argmin(chebyshev(values, weights)))]
        for _ in range(_MAX_MUTATIONS):
            child = mutate_one(self._space, child, self._rng)
            if child not in self._history.seen and child not in others:
                return child
        return None


def scalarisation_weights(weights: np.ndarray | None, width: int, rng: np.random.Generator) -> np.ndarray:
    """(M,) the given weights, or weights drawn uniformly from the simplex.

    Raises:
        UserError: the number of weights is not the number of objectives.
    """
    if weights is None:
        return rng.dirichlet(np.ones(width))
    require_weights(weights, width)
    return weights


def require_weights(weights: np.ndarray, width: int) -> None:
    """Raise a UserError unless there is one weight per objective."""
    if len(weights) != width:
        raise UserError(
            f"search.weights has {len(weights)} numbers for {width} objectives.",
            "Give one number per objective.",
        )


def _check(weights: Sequence[float]) -> np.ndarray:
    checked = np.array(weights, dtype=float)
    if not (np.isfinite(checked).all() and (checked >= 0).all() and checked.any()):
        raise UserError(
            f"search.weights must be non-negative numbers that are not all 0, got {list(weights)}.",
            "Give one number per objective, such as search.weights=[1,1].",
        )
    return checked
