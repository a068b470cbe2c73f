"""NSGA-II over any space: pymoo selects and survives, our operators vary.

Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002.
"""

from collections.abc import Sequence

from pymoo.algorithms.moo import nsga2

from evonas.randomness import derive
from evonas.search.generational import Generational, Rates
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class NSGA2(Generational):
    """Survival by front and crowding; the first generation holds the ends of the space by default.

    The ends (`corners`) matter more than any rate: without them a few hundred evaluations
    rarely reach the cheap and the accurate part of a front.

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
        super().__init__(space, population, evaluations, start, corners)
        rates = Rates(crossover_prob, swap_prob, mutation_prob, changes, eta)
        self._set_up(
            nsga2.NSGA2(pop_size=population, seed=derive(seed, "search.nsga2"), **self._operators(rates))
        )
