"""NSGA-III: survivors are spread over directions instead of by crowding, for three objectives and more.

Deb and Jain, "An evolutionary many-objective optimization algorithm using reference-point-based
nondominated sorting approach", 2014; directions of Das and Dennis, 1998.
"""

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np
from pymoo.algorithms.moo import nsga3
from pymoo.core.population import Population
from pymoo.core.survival import Survival
from pymoo.util.ref_dirs import get_reference_directions

from evonas.randomness import derive
from evonas.search.generational import Generational, Rates
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class NSGA3(Generational):
    """Keeps, for each of as many even directions as the population can hold, the points nearest to it.

    Args:
        space: where to look.
        seed: of everything random.
        population: points per generation; 91 give 12 divisions of three objectives.
        evaluations: points in all; the last generation is cut to fit.
        crossover_prob: chance of each pair of parents to be crossed.
        swap_prob: chance of each bit to be swapped in a crossed pair.
        mutation_prob: chance of each child to be mutated at all.
        changes: expected changes of axes, and of bits, in a mutated child.
        eta: distribution index of the mutation of axes.
        corners: whether the smallest and the largest point are asked first.
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
        super().__init__(space, population, evaluations, start, corners)
        rates = Rates(crossover_prob, swap_prob, mutation_prob, changes, eta)
        self._set_up(
            nsga3.NSGA3(
                ref_dirs=None,
                pop_size=population,
                survival=_Directions(population),
                seed=derive(seed, "search.nsga3"),
                **self._operators(rates),
            )
        )


def directions(num_objectives: int, population: int) -> np.ndarray:
    """(D, M) even directions, at most `population` of them but at least one per objective."""
    divisions = 1
    # with one objective there is one direction, however finely it is divided
    while num_objectives > 1 and comb(num_objectives + divisions, divisions + 1) <= population:
        divisions += 1
    return np.asarray(get_reference_directions("das-dennis", num_objectives, n_partitions=divisions))


class _Directions(Survival):
    """pymoo's survival, made when the first facts say how many objectives there are."""

    def __init__(self, population: int) -> None:
        super().__init__(filter_infeasible=False)
        self._population = population
        self._chosen: nsga3.ReferenceDirectionSurvival | None = None
        self.opt = Population.empty()

    def _do(self, problem: Any, pop: Population, n_survive: int, **kwargs: Any) -> Population:
        if self._chosen is None:
            self._chosen = nsga3.ReferenceDirectionSurvival(directions(pop[0].F.size, self._population))
        kept = self._chosen._do(problem, pop, n_survive=n_survive, **kwargs)
        self.opt = self._chosen.opt
        return kept
