"""NSGA-II over any space: pymoo selects and survives, our operators vary.

Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002. The
operators are those of EvoNAS's search: two-point crossover and polynomial mutation on
axes, uniform crossover and flips on bits, one random bit for an empty stage.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymoo.algorithms.moo import nsga2
from pymoo.core.crossover import Crossover
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.core.sampling import Sampling
from pymoo.core.termination import NoTermination

from evonas.errors import UserError
from evonas.randomness import derive
from evonas.search.base import Told
from evonas.search.operators import cross_two_point, cross_uniform, draw_unseen, flip_bits, mutate_ordinals
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class NSGA2:
    """Asks populations of points that were never asked before; points that failed leave no offspring.

    Args:
        space: where to look.
        seed: of everything random.
        population: points per generation.
        evaluations: points in all; the last generation is cut to fit.
        crossover_prob: chance of each pair of parents to be crossed.
        swap_prob: chance of each bit to be swapped in a crossed pair.
        mutation_prob: chance of each child to be mutated at all (EvoNAS: 0.1, so nine in
            ten children are pure recombinations).
        changes: expected changes of axes, and of bits, in a mutated child (EvoNAS: 1).
        eta: distribution index of the mutation of axes.

    Raises:
        UserError: for a population below two, an empty budget or a probability outside [0, 1].
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int,
        evaluations: int,
        crossover_prob: float = 0.95,
        swap_prob: float = 0.5,
        mutation_prob: float = 1.0,
        changes: float = 0.5,
        eta: float = 1.0,
    ) -> None:
        _check_budget(population, evaluations)
        if changes < 0 or eta < 0:
            raise UserError(
                f"changes is {changes} and eta {eta}.", "Set search.changes and search.eta above 0."
            )
        _check_probabilities(crossover_prob=crossover_prob, swap_prob=swap_prob, mutation_prob=mutation_prob)
        self._space = space
        self._evaluations = evaluations
        self._seen: set[Genotype] = set()
        self._asked: Population = Population.empty()
        self._evolution = nsga2.NSGA2(
            pop_size=population,
            sampling=_Draw(space, self._seen),
            crossover=_Cross(space, crossover_prob, swap_prob),
            mutation=_Mutate(space, mutation_prob, changes, eta),
            repair=_Mend(space),
            eliminate_duplicates=_Unasked(space, self._seen),
            seed=derive(seed, "search.nsga2"),
            output=None,
        )
        problem = Problem(n_var=len(space.cardinalities), n_obj=1, xl=np.array(space.lower), vtype=int)
        self._evolution.setup(problem, termination=NoTermination())

    def ask(self) -> list[Genotype]:
        """The next generation; empty when the budget or the space is used up."""
        self._asked = self._next_generation()
        asked = [_point(self._space, each.X) for each in self._asked]
        self._seen.update(asked)
        return asked

    def tell(self, facts: Sequence[Told]) -> None:
        """Let the measured points compete for survival; failed ones do not take part."""
        asked = [_point(self._space, each.X) for each in self._asked]
        assert [fact.genotype for fact in facts] == asked, "tell the whole batch, in the order asked"
        measured = [index for index, fact in enumerate(facts) if fact.objectives is not None]
        if not measured:
            return
        for index in measured:
            values = np.array(facts[index].objectives, dtype=float)
            assert np.isfinite(values).all(), "an objective that is not finite is a failure"
            self._asked[index].set("F", values)
        self._evolution.tell(infills=self._asked[measured])

    def survivors(self) -> list[Told]:
        """The current parents, all of them measured."""
        pop = self._evolution.pop if self._evolution.pop is not None else ()
        return [Told(_point(self._space, each.X), tuple(map(float, each.F))) for each in pop]

    def _next_generation(self) -> Population:
        evolution = self._evolution
        count = min(evolution.pop_size, self._evaluations - len(self._seen))
        if min(count, self._space.size() - len(self._seen)) <= 0:
            return Population.empty()
        bred = evolution.ask()
        bred = Population.empty() if bred is None else bred[:count]
        known = self._seen | {_point(self._space, each.X) for each in bred}
        fresh = draw_unseen(self._space, evolution.random_state, known, count - len(bred))
        drawn = Population.new("X", _vectors(fresh, self._space)) if fresh else Population.empty()
        return Population.merge(bred, drawn)


class _Draw(Sampling):
    """The first generation: random points of the space."""

    def __init__(self, space: Space, seen: set[Genotype]) -> None:
        super().__init__()
        self._space, self._seen = space, seen

    def _do(
        self, problem: Any, n_samples: int, *args: Any, random_state: np.random.Generator, **kwargs: Any
    ) -> np.ndarray:
        del problem, args, kwargs
        return _vectors(draw_unseen(self._space, random_state, self._seen, n_samples), self._space)


class _Cross(Crossover):
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


class _Mutate(Mutation):
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


class _Mend(Repair):
    """Enough ones in every row of bits, and the canonical form."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self._space = space

    def _do(
        self, problem: Any, X: np.ndarray, random_state: np.random.Generator, **kwargs: Any
    ) -> np.ndarray:
        del problem, kwargs
        return _vectors([self._space.repair(row, random_state) for row in X], self._space)


class _Unasked(DuplicateElimination):
    """Keeps children that were never asked and are not there yet."""

    def __init__(self, space: Space, seen: set[Genotype]) -> None:
        super().__init__()
        self._space, self._seen = space, seen

    def _do(self, pop: Population, other: Population | None, is_duplicate: np.ndarray) -> np.ndarray:
        present = {_point(self._space, each.X) for each in (() if other is None else other)}
        for index, each in enumerate(pop):
            point = _point(self._space, each.X)
            is_duplicate[index] = point in self._seen or point in present
            if other is None:
                present.add(point)
        return is_duplicate


def _point(space: Space, vector: np.ndarray) -> Genotype:
    return Genotype(space.name, tuple(map(int, vector)))


def _vectors(points: Sequence[Genotype], space: Space) -> np.ndarray:
    return np.array([point.genes for point in points], dtype=np.int64).reshape(-1, len(space.cardinalities))


def _check_budget(population: int, evaluations: int) -> None:
    if population < 2 or evaluations < 1:
        raise UserError(
            f"NSGA-II cannot ask {evaluations} points in generations of {population}.",
            "Set budget.population to at least 2 and budget.evaluations to at least 1.",
        )


def _check_probabilities(**probabilities: float) -> None:
    for name, value in probabilities.items():
        if not 0.0 <= value <= 1.0:
            raise UserError(f"{name} is {value}.", f"Set search.{name} between 0 and 1.")
