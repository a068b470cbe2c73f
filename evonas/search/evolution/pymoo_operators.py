"""Our operators as pymoo wants them: draw, cross, mutate, mend and recognise points of any space.

The operators are those of EvoNAS's search: two-point crossover and polynomial mutation on
axes, uniform crossover and flips on bits, random bits for an empty stage. P parents, V positions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymoo.core.crossover import Crossover
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.repair import Repair
from pymoo.core.sampling import Sampling

from evonas.search.operators import cross_two_point, cross_uniform, draw_opening, flip_bits, mutate_ordinals
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class Draw(Sampling):
    """The first generation: given points, filled up with random ones."""

    def __init__(self, space: Space, seen: set[Genotype], start: Sequence[Genotype] = ()) -> None:
        super().__init__()
        self._space, self._seen, self._start = space, seen, start

    def _do(
        self, problem: Any, n_samples: int, *args: Any, random_state: np.random.Generator, **kwargs: Any
    ) -> np.ndarray:
        del problem, args, kwargs
        drawn = draw_opening(self._space, random_state, self._start, self._seen, n_samples)
        return to_vectors(drawn, self._space)


class Cross(Crossover):
    """Two-point on axes, uniform on bits."""

    def __init__(self, space: Space, prob: float, swap_prob: float) -> None:
        super().__init__(n_parents=2, n_offsprings=2, prob=prob)
        self._is_bit, self._swap_prob = np.array(space.is_bit), swap_prob

    def _do(
        self, problem: Any, X: np.ndarray, *args: Any, random_state: np.random.Generator, **kwargs: Any
    ) -> np.ndarray:
        del problem, args, kwargs
        axes, bits = X[:, :, ~self._is_bit], X[:, :, self._is_bit]
        children = np.empty_like(X)
        children[:, :, ~self._is_bit] = cross_two_point(axes[0], axes[1], random_state)
        children[:, :, self._is_bit] = cross_uniform(bits[0], bits[1], self._swap_prob, random_state)
        return children


class Mutate(Mutation):
    """Polynomial on axes, flips on bits."""

    def __init__(self, space: Space, prob: float, changes: float, eta: float) -> None:
        super().__init__(prob=prob)
        self._is_bit, self._upper, self._eta = np.array(space.is_bit), np.array(space.upper), eta
        self._axis_prob = min(1.0, changes / max(1, int((~self._is_bit).sum())))
        self._bit_prob = min(1.0, changes / max(1, int(self._is_bit.sum())))

    def _do(
        self, problem: Any, X: np.ndarray, *args: Any, random_state: np.random.Generator, **kwargs: Any
    ) -> np.ndarray:
        del problem, args, kwargs
        is_bit, mutated = self._is_bit, X.copy()
        mutated[:, ~is_bit] = mutate_ordinals(
            X[:, ~is_bit], self._upper[~is_bit], self._axis_prob, self._eta, random_state
        )
        mutated[:, is_bit] = flip_bits(X[:, is_bit], self._bit_prob, random_state)
        return mutated


class Mend(Repair):
    """Enough ones in every row of bits, and the canonical form."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self._space = space

    def _do(
        self, problem: Any, X: np.ndarray, random_state: np.random.Generator, **kwargs: Any
    ) -> np.ndarray:
        del problem, kwargs
        return to_vectors([self._space.repair(row, random_state) for row in X], self._space)


class Unasked(DuplicateElimination):
    """Keeps children that were never asked and are not there yet."""

    def __init__(self, space: Space, seen: set[Genotype]) -> None:
        super().__init__()
        self._space, self._seen = space, seen

    def _do(self, pop: Population, other: Population | None, is_duplicate: np.ndarray) -> np.ndarray:
        present = {to_point(self._space, each.X) for each in (() if other is None else other)}
        for index, each in enumerate(pop):
            point = to_point(self._space, each.X)
            is_duplicate[index] = point in self._seen or point in present
            if other is None:
                present.add(point)
        return is_duplicate


def to_point(space: Space, vector: np.ndarray) -> Genotype:
    """A row of pymoo's matrix as a genotype."""
    return Genotype(space.name, tuple(vector.tolist()))


def to_vectors(points: Sequence[Genotype], space: Space) -> np.ndarray:
    """(P, V) integers of some genotypes."""
    return np.array([point.genes for point in points], dtype=np.int64).reshape(-1, len(space.cardinalities))
