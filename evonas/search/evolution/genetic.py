"""What NSGA-II and NSGA-III share: generations of new points, bred by pymoo from the survivors."""

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
from evonas.search.base import Told
from evonas.search.evolution.pymoo_operators import Cross, Draw, Mend, Mutate, Unasked, to_point, to_vectors
from evonas.search.ledger import is_measured, opening_points
from evonas.search.operators import draw_unseen
from evonas.space.genotype import Genotype
from evonas.space.space import Space


@dataclass(frozen=True, slots=True)
class Rates:
    """How strongly points are varied.

    Args:
        crossover_prob: chance of each pair of parents to be crossed.
        swap_prob: chance of each bit to be swapped in a crossed pair.
        mutation_prob: chance of each child to be mutated at all.
        changes: expected changes of axes, and of bits, in a mutated child.
        eta: distribution index of the mutation of axes.

    Raises:
        UserError: for a probability outside [0, 1] or a negative number.
    """

    crossover_prob: float = 0.95
    swap_prob: float = 0.5
    mutation_prob: float = 1.0
    changes: float = 0.5
    eta: float = 1.0

    def __post_init__(self) -> None:
        if self.changes < 0 or self.eta < 0:
            raise UserError(
                f"changes is {self.changes} and eta {self.eta}.",
                "Set search.changes and search.eta above 0.",
            )
        for name in ("crossover_prob", "swap_prob", "mutation_prob"):
            check_probability(name, getattr(self, name))


class Generational:
    """Asks generations of points that were never asked before; points that failed leave no offspring.

    A subclass says by `_evolution_of` which algorithm of pymoo chooses the survivors.

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
        corners: whether the smallest and the largest point are asked first (EvoNAS: no).
        start: points asked before all others.

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
        corners: bool = True,
        start: Sequence[Genotype] = (),
    ) -> None:
        if population < 2 or evaluations < 1:
            raise UserError(
                f"Cannot ask {evaluations} points in generations of {population}.",
                "Set budget.population to at least 2 and budget.evaluations to at least 1.",
            )
        self._space = space
        self._evaluations = evaluations
        self._seen: set[Genotype] = set()
        self._asked: Population = Population.empty()
        self._opening: deque[Genotype] = deque()
        rates = Rates(crossover_prob, swap_prob, mutation_prob, changes, eta)
        operators = self._operators(rates, opening_points(space, start, corners))
        self._evolution = self._evolution_of(population, seed, operators)
        problem = Problem(n_var=len(space.cardinalities), n_obj=1, xl=np.array(space.lower), vtype=int)
        self._evolution.setup(problem, termination=NoTermination())

    def _evolution_of(self, population: int, seed: int, operators: Mapping[str, Any]) -> GeneticAlgorithm:
        """The algorithm of pymoo, with a seed of its own derived from the search's."""
        raise NotImplementedError

    def _operators(self, rates: Rates, opening: Sequence[Genotype]) -> dict[str, Any]:
        """Keywords of a pymoo algorithm that make it vary points of our space."""
        space = self._space
        return {
            "sampling": Draw(space, self._seen, opening),
            "crossover": Cross(space, rates.crossover_prob, rates.swap_prob),
            "mutation": Mutate(space, rates.mutation_prob, rates.changes, rates.eta),
            "repair": Mend(space),
            "eliminate_duplicates": Unasked(space, self._seen),
            "output": None,
        }

    def ask(self) -> list[Genotype]:
        """The next generation; empty when the budget or the space is used up."""
        self._asked = self._next_generation()
        asked = [to_point(self._space, each.X) for each in self._asked]
        self._seen.update(asked)
        return asked

    def tell(self, facts: Sequence[Told]) -> None:
        """Let the measured points compete for survival; failed ones do not take part."""
        asked = [to_point(self._space, each.X) for each in self._asked]
        assert [fact.genotype for fact in facts] == asked, "tell the whole batch, in the order asked"
        measured = [index for index, fact in enumerate(facts) if is_measured(fact)]
        if not measured:
            return
        for index in measured:
            self._asked[index].set("F", np.array(facts[index].objectives, dtype=float))
        self._evolution.tell(infills=self._asked[measured])

    def ask_one(self) -> Genotype | None:
        """A point of the first generation, then one child of the survivors; None when finished."""
        if min(self._evaluations, self._space.size()) <= len(self._seen):
            return None
        if not self._seen:
            self._opening.extend(to_point(self._space, each.X) for each in self._next_generation())
        point = self._opening.popleft() if self._opening else self._child()
        self._seen.add(point)
        return point

    def tell_one(self, fact: Told) -> None:
        """Let a measured point compete with the survivors, of which the worst leaves (mu + 1)."""
        if not is_measured(fact):
            return
        evolution = self._evolution
        member = Population.new("X", to_vectors([fact.genotype], self._space))
        member.set("F", np.array([fact.objectives], dtype=float))
        rivals = member if evolution.pop is None else Population.merge(evolution.pop, member)
        # also while there is room for all: it says who is in front of whom, which mating asks for
        evolution.pop = evolution.survival.do(
            evolution.problem,
            rivals,
            n_survive=evolution.pop_size,
            algorithm=evolution,
            random_state=evolution.random_state,
        )

    def survivors(self) -> list[Told]:
        """The current parents, all of them measured."""
        pop = self._evolution.pop if self._evolution.pop is not None else ()
        return [Told(to_point(self._space, each.X), tuple(map(float, each.F))) for each in pop]

    def _child(self) -> Genotype:
        """A point nobody asked, bred from the survivors; a random one while they are no pair."""
        evolution, space = self._evolution, self._space
        bred = Population.empty()
        if evolution.pop is not None and len(evolution.pop) > 1:
            bred = evolution.mating.do(
                evolution.problem, evolution.pop, 1, algorithm=evolution, random_state=evolution.random_state
            )
        if len(bred):
            return to_point(space, bred[0].X)
        return draw_unseen(space, evolution.random_state, self._seen, 1)[0]

    def _next_generation(self) -> Population:
        evolution = self._evolution
        count = min(evolution.pop_size, self._evaluations - len(self._seen))
        if min(count, self._space.size() - len(self._seen)) <= 0:
            return Population.empty()
        bred = evolution.ask()
        bred = Population.empty() if bred is None else bred[:count]
        known = self._seen | {to_point(self._space, each.X) for each in bred}
        fresh = draw_unseen(self._space, evolution.random_state, known, count - len(bred))
        drawn = Population.new("X", to_vectors(fresh, self._space)) if fresh else Population.empty()
        return Population.merge(bred, drawn)


def check_probability(name: str, value: float) -> None:
    """Raise a UserError that names the key unless the value lies in [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise UserError(f"{name} is {value}.", f"Set search.{name} between 0 and 1.")
