"""Regularized evolution: the best of a few parents has one child, and the oldest dies.

Real et al., "Regularized evolution for image classifier architecture search", 2019. With
several objectives, each child's parents are compared along a direction of its own.
"""

from collections import deque
from collections.abc import Collection, Sequence

import numpy as np

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.search.base import Told
from evonas.search.ledger import Ledger, opening_points
from evonas.search.operators import change_one
from evonas.search.ranking import chebyshev
from evonas.space.genotype import Genotype
from evonas.space.space import Space

_PATIENCE = 50


class RegularizedEvolution:
    """Ages its members: a good point stays only through its children, which forgives lucky measurements.

    Args:
        space: where to look.
        seed: of everything random.
        population: living members; the first batch.
        evaluations: points in all.
        tournament: members that compete to be the parent.
        batch: children per question; more than one keeps that many workers busy.
        weights: importance of each objective in the Chebyshev distance that is compared; [1, 0]
            minimises the first alone. None draws a direction for each child.
        corners: whether the smallest and the largest point are asked first.
        start: points asked before all others.

    Raises:
        UserError: for an empty budget, tournament or batch, or weights that are not positive somewhere.
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
        corners: bool = True,
        start: Sequence[Genotype] = (),
    ) -> None:
        self._ledger = Ledger(space, population, evaluations)
        if min(tournament, batch) < 1:
            raise UserError(
                f"tournament is {tournament} and batch {batch}.",
                "Set search.tournament and search.batch to 1 or more.",
            )
        self._weights = None if weights is None else _check(weights)
        self._space, self._population = space, population
        self._tournament, self._batch = tournament, batch
        self._rng = generator(seed, "search.regularized")
        self._alive: deque[Genotype] = deque(maxlen=population)
        self._start = opening_points(space, start, corners)

    def ask(self) -> list[Genotype]:
        """The first population, then children; empty when the budget or the space is used up."""
        ledger = self._ledger
        if not ledger.seen:
            return ledger.ask_opening(self._start, self._population, self._rng)
        if not self._alive:
            return ledger.ask_random(self._batch, self._rng)
        children: dict[Genotype, None] = {}
        for _ in range(min(self._batch, ledger.left)):
            child = self._child(children)
            if child is not None:
                children[child] = None
        return ledger.ask(children) or ledger.ask_random(self._batch, self._rng)

    def tell(self, facts: Sequence[Told]) -> None:
        """Let the measured points live; those that failed were never born."""
        self._alive.extend(fact.genotype for fact in self._ledger.tell(facts))

    def ask_one(self) -> Genotype | None:
        """The first population, point by point, then a child of those alive; None when finished."""
        ledger = self._ledger
        if len(ledger.seen) < self._population:
            return ledger.ask_one(self._start, self._rng)
        child = self._child(()) if self._alive and ledger.left > 0 else None
        return ledger.ask_one(() if child is None else (child,), self._rng)

    def tell_one(self, fact: Told) -> None:
        """Let a measured point live; one that failed was never born."""
        self._alive.extend(each.genotype for each in self._ledger.tell_one(fact))

    def _child(self, others: Collection[Genotype]) -> Genotype | None:
        """A point nobody asked, one step or a few from a good parent; None where all steps are known."""
        child = self._parent()
        for _ in range(_PATIENCE):
            child = change_one(self._space, child, self._rng)
            if child not in self._ledger.seen and child not in others:
                return child
        return None

    def _parent(self) -> Genotype:
        size = min(self._tournament, len(self._alive))
        rivals = [self._alive[at] for at in self._rng.choice(len(self._alive), size, replace=False)]
        values = np.array([self._ledger.measured[rival] for rival in rivals])
        weights = direction(self._weights, values.shape[1], self._rng)
        return rivals[int(np.argmin(chebyshev(values, weights)))]


def direction(weights: np.ndarray | None, width: int, rng: np.random.Generator) -> np.ndarray:
    """(M,) the weights given, or ones drawn uniformly from those that sum to one.

    Raises:
        UserError: if their number is not that of the objectives.
    """
    if weights is None:
        return rng.dirichlet(np.ones(width))
    if len(weights) != width:
        raise UserError(
            f"search.weights has {len(weights)} numbers for {width} objectives.",
            "Give one for each objective.",
        )
    return weights


def _check(weights: Sequence[float]) -> np.ndarray:
    checked = np.array(weights, dtype=float)
    if not (np.isfinite(checked).all() and (checked >= 0).all() and checked.any()):
        raise UserError(
            f"search.weights is {list(weights)}.",
            "Give a number of at least 0 for each objective, not all 0.",
        )
    return checked
