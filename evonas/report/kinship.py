"""Where a network may come from: archives keep facts and no parents, so kinship is read off the genes.

NSGA-II crosses networks that it kept before, and which these were follows from the facts. Of their pairs the
likeliest parents leave the fewest positions of the layout unexplained (of equals: the pair with the nearest
network in it, then with the nearest second one). For any other searcher there is one forerunner only: the
network of an earlier generation that differs in the fewest positions (of equals: by the fewest steps, then
the one asked last). Both are guesses, and are called so wherever they are shown.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from evonas.identifiers import identifier
from evonas.report.facts import Facts
from evonas.report.genome import Genome
from evonas.report.moments import born, generation_size
from evonas.report.pareto import Indices

LONGEST = 200
_NSGA2 = "search/nsga2"


@dataclass(frozen=True, slots=True)
class Kin:
    """The earlier relatives of one network.

    Args:
        row: the network, among the facts.
        nearest: row of the likeliest parent; None for the first generation.
        mate: row of the likeliest second parent, or None.
        changed: positions of the layout that differ from `nearest`.
        shared: how many of these `mate` has.
    """

    row: int
    nearest: int | None = None
    mate: int | None = None
    changed: int = 0
    shared: int = 0


class Kinship:
    """The likeliest relatives of the networks of one search."""

    def __init__(self, facts: Facts, genome: Genome) -> None:
        self._rows, self._born = genome.rows, born(facts)
        self._kept = survivors(facts)

    @property
    def has_crossings(self) -> bool:
        """Whether networks are known to have two parents among those that were kept."""
        return self._kept is not None

    def parents(self, row: int) -> Indices:
        """The rows that may have been parents of a network, in the order asked."""
        if self._kept is not None:
            return self._kept.get(int(self._born[row]), np.empty(0, dtype=np.intp))
        return np.flatnonzero(self._born < self._born[row])

    def of(self, row: int) -> Kin:
        """The likeliest relatives of one network."""
        earlier = self.parents(row)
        if not len(earlier):
            return Kin(row)
        return self._pair(row, earlier) if self.has_crossings else self._nearest(row, earlier)

    def _nearest(self, row: int, earlier: Indices) -> Kin:
        own, others = self._rows[row], self._rows[earlier]
        distance, steps = (others != own).sum(axis=1), np.abs(others - own).sum(axis=1)
        at = int(np.lexsort((-earlier, steps, distance))[0])
        return Kin(row, int(earlier[at]), changed=int(distance[at]))

    def _pair(self, row: int, earlier: Indices) -> Kin:
        differs = (self._rows[earlier] != self._rows[row]).astype(np.int64)
        distance = differs.sum(axis=1)
        # positions that differ in both; on the diagonal what one parent leaves unexplained
        unexplained = differs @ differs.T
        near, far = (pick(distance[:, None], distance[None, :]) for pick in (np.minimum, np.maximum))
        place = int(np.lexsort((far.ravel(), near.ravel(), unexplained.ravel()))[0])
        first, second = sorted(divmod(place, len(earlier)), key=lambda at: int(distance[at]))
        shared = int(distance[first] - unexplained[first, second])
        mate = int(earlier[second]) if shared else None
        return Kin(row, int(earlier[first]), mate, int(distance[first]), shared)

    def descent(self, row: int) -> Iterator[Kin]:
        """The network, its nearest, the nearest's nearest and so on, back to the first generation."""
        at: int | None = row
        for _ in range(LONGEST):
            if at is None:
                return
            found = self.of(at)
            yield found
            at = found.nearest


def survivors(facts: Facts) -> Mapping[int, Indices] | None:
    """The rows that NSGA-II bred each generation from, ascending; None for any other searcher.

    Survival by rank and crowding is a function of the facts alone (Deb et al. 2002; computed by pymoo).
    """
    size, searcher = generation_size(facts.identity), facts.identity.get("searcher")
    if size is None or not isinstance(searcher, Mapping) or identifier(searcher.get("_target_")) != _NSGA2:
        return None
    # a page without chosen networks must not wait for pymoo
    from pymoo.algorithms.moo.nsga2 import RankAndCrowding
    from pymoo.core.population import Population
    from pymoo.core.problem import Problem

    survival, problem = RankAndCrowding(), Problem(n_var=1, n_obj=len(facts.names))
    begun, kept, found = born(facts), Population.empty(), dict[int, Indices]()
    for number in range(int(begun.max(initial=-1)) + 1):
        found[number] = np.sort(np.array([int(each.X[0]) for each in kept], dtype=np.intp))
        rows = np.flatnonzero(begun == number)
        fresh = Population.new("X", rows[:, None], "F", facts.values[rows])
        rivals = Population.merge(kept, fresh)
        kept = survival.do(problem, rivals, n_survive=min(size, len(rivals))) if len(rivals) else rivals
    return found
