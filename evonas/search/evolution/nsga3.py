"""NSGA-III: survivors are spread over directions instead of by crowding, for three objectives and more.

Deb and Jain, "An evolutionary many-objective optimization algorithm using reference-point-based
nondominated sorting approach", 2014; directions of Das and Dennis, 1998.
"""

from collections.abc import Mapping
from math import comb
from typing import Any

import numpy as np
from pymoo.algorithms.base.genetic import GeneticAlgorithm
from pymoo.algorithms.moo import nsga3
from pymoo.core.population import Population
from pymoo.core.survival import Survival
from pymoo.util.ref_dirs import get_reference_directions

from evonas.randomness import derive
from evonas.search.evolution.genetic import Generational


class NSGA3(Generational):
    """Keeps, for each of as many even directions as the population can hold, the points nearest to it.

    Arguments are those of `Generational`; 91 points a generation give 12 divisions of three objectives.
    """

    def _evolution_of(self, population: int, seed: int, operators: Mapping[str, Any]) -> GeneticAlgorithm:
        survival = _Directions(population)
        seed = derive(seed, "search.nsga3")
        return nsga3.NSGA3(ref_dirs=None, pop_size=population, survival=survival, seed=seed, **operators)


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
