"""NSGA-II over any space: pymoo selects and survives, our operators vary.

Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002.
"""

from collections.abc import Mapping
from typing import Any

from pymoo.algorithms.base.genetic import GeneticAlgorithm
from pymoo.algorithms.moo import nsga2

from evonas.randomness import derive
from evonas.search.evolution.genetic import Generational


class NSGA2(Generational):
    """Survival by front and crowding; the first generation holds the ends of the space by default.

    The ends (`corners`) matter more than any rate: without them a few hundred evaluations
    rarely reach the cheap and the accurate part of a front. Arguments are those of `Generational`.
    """

    def _evolution_of(self, population: int, seed: int, operators: Mapping[str, Any]) -> GeneticAlgorithm:
        return nsga2.NSGA2(pop_size=population, seed=derive(seed, "search.nsga2"), **operators)
