"""NSGA-II, on pymoo's implementation.

Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002.
"""

from collections.abc import Mapping
from typing import Any

from pymoo.algorithms.base.genetic import GeneticAlgorithm
from pymoo.algorithms.moo import nsga2

from evonas.randomness import derive
from evonas.search.evolution.genetic import GeneticSearch


class NSGA2(GeneticSearch):
    """NSGA-II: survival by non-dominated front and crowding distance.

    By default the first generation contains the smallest and the largest architecture (`corners`); without
    them, a few hundred evaluations rarely reach both ends of the Pareto front. Arguments: see `GeneticSearch`.
    """

    def _algorithm(self, population: int, seed: int, operators: Mapping[str, Any]) -> GeneticAlgorithm:
        return nsga2.NSGA2(pop_size=population, seed=derive(seed, "search.nsga2"), **operators)
