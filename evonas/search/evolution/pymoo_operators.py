"""pymoo operators for search spaces: sampling, crossover, mutation, repair and duplicate elimination.

As in EvoNAS's search: two-point crossover and polynomial mutation of axes, uniform crossover and bit flips of
bits, random bits for an empty stage. P parents, V positions of the genotype vector.
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

from evonas.search.operators import (
    bit_flip_mutation,
    polynomial_mutation,
    sample_initial,
    two_point_crossover,
    uniform_crossover,
)
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class InitialSampling(Sampling):
    """Samples the first generation: the given points, filled up with random ones."""

    def __init__(self, space: Space, seen: set[Genotype], start: Sequence[Genotype] = ()) -> None:
        super().__init__()
        self._space, self._seen, self._start = space, seen, start

    def _do(
        self, problem: Any, n_samples: int, *args: Any, random_state: np.random.Generator, **kwargs: Any
    ) -> np.ndarray:
        del problem, args, kwargs
        drawn = sample_initial(self._space, random_state, self._start, self._seen, n_samples)
        return to_vectors(drawn, self._space)


class MixedCrossover(Crossover):
    """Two-point crossover of axes, uniform crossover of bits."""

    def __init__(self, space: Space, prob: float, swap_prob: float) -> None:
        super().__init__(n_parents=2, n_offsprings=2, prob=prob)
        self._is_bit, self._swap_prob = np.array(space.is_bit), swap_prob

    def _do(
        self, problem: Any, X: np.ndarray, *args: Any, random_state: np.random.Generator, **kwargs: Any
    ) -> np.ndarray:
        del problem, args, kwargs
        axes, bits = X[:, :, ~self._is_bit], X[:, :, self._is_bit]
        children = np.empty_like(X)
        children[:, :, ~self._is_bit] = two_point_crossover(axes[0], axes[1], random_state)
        children[:, :, self._is_bit] = uniform_crossover(bits[0], bits[1], self._swap_prob, random_state)
        return children


class MixedMutation(Mutation):
    """Polynomial mutation of axes, bit flips of bits."""

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
        mutated[:, ~is_bit] = polynomial_mutation(
            X[:, ~is_bit], self._upper[~is_bit], self._axis_prob, self._eta, random_state
        )
        mutated[:, is_bit] = bit_flip_mutation(X[:, is_bit], self._bit_prob, random_state)
        return mutated


class SpaceRepair(Repair):
    """Repairs children to canonical genotypes of the space."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self._space = space

    def _do(
        self, problem: Any, X: np.ndarray, random_state: np.random.Generator, **kwargs: Any
    ) -> np.ndarray:
        del problem, kwargs
        return to_vectors([self._space.repair(row, random_state) for row in X], self._space)


class SeenElimination(DuplicateElimination):
    """Eliminates children that were asked before or occur twice."""

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
    """The genotype of a row of pymoo's (P, V) matrix."""
    return Genotype(space.name, tuple(vector.tolist()))


def to_vectors(points: Sequence[Genotype], space: Space) -> np.ndarray:
    """(P, V) integer matrix of genotypes."""
    return np.array([point.genes for point in points], dtype=np.int64).reshape(-1, len(space.cardinalities))
