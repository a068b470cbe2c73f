"""Base class of NSGA-II and NSGA-III, on pymoo's genetic algorithms."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymoo.algorithms.base.genetic import GeneticAlgorithm
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination

from evonas.errors import UserError
from evonas.search.base import Observation
from evonas.search.evolution.pymoo_operators import (
    InitialSampling,
    MixedCrossover,
    MixedMutation,
    SeenElimination,
    SpaceRepair,
    to_point,
    to_vectors,
)
from evonas.search.history import initial_points, is_measured
from evonas.search.operators import sample_unseen
from evonas.space.genotype import Genotype
from evonas.space.space import Space


@dataclass(frozen=True, slots=True)
class VariationRates:
    """Crossover and mutation rates.

    Args:
        crossover_prob: crossover probability per pair of parents.
        swap_prob: probability of swapping each bit in crossover.
        mutation_prob: mutation probability per child.
        changes: expected number of changed axes, and of changed bits, per mutation.
        eta: distribution index of the polynomial mutation of axes.

    Raises:
        UserError: a probability is outside [0, 1], or `changes` or `eta` is negative.
    """

    crossover_prob: float = 0.95
    swap_prob: float = 0.5
    mutation_prob: float = 1.0
    changes: float = 0.5
    eta: float = 1.0

    def __post_init__(self) -> None:
        if self.changes < 0 or self.eta < 0:
            raise UserError(
                f"search.changes and search.eta must be at least 0, got {self.changes} and {self.eta}.",
                "Try: search.changes=0.5 search.eta=1",
            )
        for name in ("crossover_prob", "swap_prob", "mutation_prob"):
            check_probability(name, getattr(self, name))


class GeneticSearch:
    """Asks for generations of unseen points; failed points do not become parents.

    Subclasses return the pymoo algorithm that selects the survivors from `_algorithm`.

    Args:
        space: search space.
        seed: random seed.
        population: points per generation.
        evaluations: evaluation budget, in points; the last generation is truncated to it.
        crossover_prob: crossover probability per pair of parents.
        swap_prob: probability of swapping each bit in crossover.
        mutation_prob: mutation probability per child (EvoNAS: 0.1).
        changes: expected number of changed axes, and of changed bits, per mutation (EvoNAS: 1).
        eta: distribution index of the polynomial mutation of axes.
        corners: architectures to ask for first, see `initial_points` (EvoNAS: no).
        start: points to ask for before all others.

    Raises:
        UserError: the population is below 2, the budget is below 1 or a rate is out of its range.
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
        corners: bool | str = True,
        start: Sequence[Genotype] = (),
    ) -> None:
        if population < 2 or evaluations < 1:
            raise UserError(
                "budget.population must be at least 2 and budget.evaluations at least 1, "
                f"got {population} and {evaluations}.",
                "Set budget.population to at least 2 and budget.evaluations to at least 1.",
            )
        self._space = space
        self._evaluations = evaluations
        self._seen: set[Genotype] = set()
        self._asked: Population = Population.empty()
        self._initial: deque[Genotype] = deque()
        rates = VariationRates(crossover_prob, swap_prob, mutation_prob, changes, eta)
        operators = self._operators(rates, initial_points(space, start, corners))
        self._pymoo = self._algorithm(population, seed, operators)
        problem = Problem(n_var=len(space.cardinalities), n_obj=1, xl=np.array(space.lower), vtype=int)
        self._pymoo.setup(problem, termination=NoTermination())

    def _algorithm(self, population: int, seed: int, operators: Mapping[str, Any]) -> GeneticAlgorithm:
        """Create the pymoo algorithm, with a seed derived from the seed of the search."""
        raise NotImplementedError

    def _operators(self, rates: VariationRates, opening: Sequence[Genotype]) -> dict[str, Any]:
        """Keyword arguments of a pymoo algorithm: sampling and variation operators of the space."""
        space = self._space
        return {
            "sampling": InitialSampling(space, self._seen, opening),
            "crossover": MixedCrossover(space, rates.crossover_prob, rates.swap_prob),
            "mutation": MixedMutation(space, rates.mutation_prob, rates.changes, rates.eta),
            "repair": SpaceRepair(space),
            "eliminate_duplicates": SeenElimination(space, self._seen),
            "output": None,
        }

    def ask(self) -> list[Genotype]:
        """Next generation; empty when finished."""
        self._asked = self._next_generation()
        asked = [to_point(self._space, each.X) for each in self._asked]
        self._seen.update(asked)
        return asked

    def tell(self, observations: Sequence[Observation]) -> None:
        """Select survivors among the parents and the successful points."""
        asked = [to_point(self._space, each.X) for each in self._asked]
        assert [each.genotype for each in observations] == asked, "tell the whole batch, in the order asked"
        measured = [index for index, observation in enumerate(observations) if is_measured(observation)]
        if not measured:
            return
        for index in measured:
            self._asked[index].set("F", np.array(observations[index].objectives, dtype=float))
        self._pymoo.tell(infills=self._asked[measured])

    def ask_one(self) -> Genotype | None:
        """A point of the first generation, later a child of the survivors; None when finished."""
        if min(self._evaluations, self._space.size()) <= len(self._seen):
            return None
        if not self._seen:
            self._initial.extend(to_point(self._space, each.X) for each in self._next_generation())
        point = self._initial.popleft() if self._initial else self._child()
        self._seen.add(point)
        return point

    def tell_one(self, observation: Observation) -> None:
        """Add a successful point to the survivors and remove the worst: (mu + 1) selection."""
        if not is_measured(observation):
            return
        algorithm = self._pymoo
        member = Population.new("X", to_vectors([observation.genotype], self._space))
        member.set("F", np.array([observation.objectives], dtype=float))
        rivals = member if algorithm.pop is None else Population.merge(algorithm.pop, member)
        # also below the population size, as mating reads the ranks that survival assigns
        algorithm.pop = algorithm.survival.do(
            algorithm.problem,
            rivals,
            n_survive=algorithm.pop_size,
            algorithm=algorithm,
            random_state=algorithm.random_state,
        )

    def survivors(self) -> list[Observation]:
        """Current parents with their objective values."""
        pop = self._pymoo.pop if self._pymoo.pop is not None else ()
        return [Observation(to_point(self._space, each.X), tuple(map(float, each.F))) for each in pop]

    def _child(self) -> Genotype:
        """An unseen child of the survivors; a random point while there are fewer than two survivors."""
        algorithm, space = self._pymoo, self._space
        bred = Population.empty()
        if algorithm.pop is not None and len(algorithm.pop) > 1:
            bred = algorithm.mating.do(
                algorithm.problem, algorithm.pop, 1, algorithm=algorithm, random_state=algorithm.random_state
            )
        if len(bred):
            return to_point(space, bred[0].X)
        return sample_unseen(space, algorithm.random_state, self._seen, 1)[0]

    def _next_generation(self) -> Population:
        algorithm = self._pymoo
        count = min(algorithm.pop_size, self._evaluations - len(self._seen))
        if min(count, self._space.size() - len(self._seen)) <= 0:
            return Population.empty()
        bred = algorithm.ask()
        bred = Population.empty() if bred is None else bred[:count]
        known = self._seen | {to_point(self._space, each.X) for each in bred}
        fresh = sample_unseen(self._space, algorithm.random_state, known, count - len(bred))
        drawn = Population.new("X", to_vectors(fresh, self._space)) if fresh else Population.empty()
        return Population.merge(bred, drawn)


def check_probability(name: str, value: float) -> None:
    """Raise a UserError unless `search.<name>` is in [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise UserError(
            f"search.{name} must be in [0, 1], got {value}.", f"Set search.{name} between 0 and 1."
        )
