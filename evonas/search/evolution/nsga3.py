"""NSGA-III, on pymoo's implementation, for three or more objectives.

Deb and Jain, "An evolutionary many-objective optimization algorithm using reference-point-based
nondominated sorting approach", 2014; reference directions of Das and Dennis, 1998.
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
from evonas.search.evolution.genetic import GeneticSearch


class NSGA3(GeneticSearch):
    """NSGA-III: survival by non-dominated front and reference directions.

    There are at most as many directions as points per generation; a population of 91 gives 12 divisions of
    three objectives. Arguments: see `GeneticSearch`.
    """

    def _algorithm(self, population: int, seed: int, operators: Mapping[str, Any]) -> GeneticAlgorithm:
        survival = _ReferenceDirectionSurvival(population)
        seed = derive(seed, "search.nsga3")
        return nsga3.NSGA3(ref_dirs=None, pop_size=population, survival=survival, seed=seed, **operators)


def directions(num_objectives: int, population: int) -> np.ndarray:
    """(D, M) Das-Dennis reference directions: at most `population`, but at least one per objective."""
    divisions = 1
    # a single objective has a single direction, whatever the number of divisions
    while num_objectives > 1 and comb(num_objectives + divisions, divisions + 1) <= population:
        divisions += 1
    return np.asarray(get_reference_directions("das-dennis", num_objectives, n_partitions=divisions))


class _ReferenceDirectionSurvival(Survival):
    """pymoo's survival, created once the number of objectives is known from the first observations."""

    def __init__(self, population: int) -> None:
        super().__init__(filter_infeasible=False)
        self._population = population
        self._survival: nsga3.ReferenceDirectionSurvival | None = None
        self.opt = Population.empty()

    def _do(self, problem: Any, pop: Population, n_survive: int, **kwargs: Any) -> Population:
        if self._survival is None:
            self._survival = nsga3.ReferenceDirectionSurvival(directions(pop[0].F.size, self._population))
        kept = self._survival._do(problem, pop, n_survive=n_survive, **kwargs)
        self.opt = self._survival.opt
        return kept
