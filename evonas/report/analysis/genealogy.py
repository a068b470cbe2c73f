"""Genealogy of networks, estimated from their genes, since archives do not store parents.

NSGA-II breeds from its survivors, which follow from the results. Among their pairs, the likeliest parents leave
the fewest positions of the genotype vector unexplained (ties: the pair with the nearest first, then the nearest
second parent). For other searchers there is one likely parent: the network of an earlier generation that
differs in the fewest positions (ties: the smallest L1 distance, then the one asked last). The report calls
both estimates.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from evonas.identifiers import identifier
from evonas.report.analysis.gene_matrix import GeneMatrix
from evonas.report.analysis.snapshots import generation_indices, generation_size
from evonas.report.metrics.pareto import Indices
from evonas.report.results import SearchResults

MAX_DEPTH = 200
_NSGA2 = "search/nsga2"


@dataclass(frozen=True, slots=True)
class LikelyParents:
    """Likeliest parents of one network.

    Args:
        row: row of the network in the results.
        nearest: row of the likeliest parent; None in the first generation.
        mate: row of the likeliest second parent, or None.
        changed: number of positions that differ from `nearest`.
        shared: number of these positions that `mate` explains.
    """

    row: int
    nearest: int | None = None
    mate: int | None = None
    changed: int = 0
    shared: int = 0


class Genealogy:
    """Likeliest parents of the networks of a search."""

    def __init__(self, results: SearchResults, gene_matrix: GeneMatrix) -> None:
        self._rows, self._born = gene_matrix.rows, generation_indices(results)
        self._kept = survivors(results)

    @property
    def has_crossings(self) -> bool:
        """Whether the survivors of each generation are known, so that two parents are estimated."""
        return self._kept is not None

    def parents(self, row: int) -> Indices:
        """Rows of the possible parents of a network, in the order asked."""
        if self._kept is not None:
            return self._kept.get(int(self._born[row]), np.empty(0, dtype=np.intp))
        return np.flatnonzero(self._born < self._born[row])

    def of(self, row: int) -> LikelyParents:
        """Likeliest parents of one network."""
        earlier = self.parents(row)
        if not len(earlier):
            return LikelyParents(row)
        return self._pair(row, earlier) if self.has_crossings else self._nearest(row, earlier)

    def _nearest(self, row: int, earlier: Indices) -> LikelyParents:
        own, others = self._rows[row], self._rows[earlier]
        distance, steps = (others != own).sum(axis=1), np.abs(others - own).sum(axis=1)
        at = int(np.lexsort((-earlier, steps, distance))[0])
        return LikelyParents(row, int(earlier[at]), changed=int(distance[at]))

    def _pair(self, row: int, earlier: Indices) -> LikelyParents:
        differs = (self._rows[earlier] != self._rows[row]).astype(np.int64)
        distance = differs.sum(axis=1)
        # [i, j]: positions that differ from both i and j, thus unexplained by this pair
        unexplained = differs @ differs.T
        near, far = (pick(distance[:, None], distance[None, :]) for pick in (np.minimum, np.maximum))
        place = int(np.lexsort((far.ravel(), near.ravel(), unexplained.ravel()))[0])
        first, second = sorted(divmod(place, len(earlier)), key=lambda at: int(distance[at]))
        shared = int(distance[first] - unexplained[first, second])
        mate = int(earlier[second]) if shared else None
        return LikelyParents(row, int(earlier[first]), mate, int(distance[first]), shared)

    def descent(self, row: int) -> Iterator[LikelyParents]:
        """The chain of likeliest parents from the network back to the first generation."""
        at: int | None = row
        for _ in range(MAX_DEPTH):
            if at is None:
                return
            found = self.of(at)
            yield found
            at = found.nearest


def survivors(results: SearchResults) -> Mapping[int, Indices] | None:
    """Generation -> rows of the survivors that NSGA-II bred it from; None for other searchers.

    Survival by front and crowding distance is a function of the results (Deb et al. 2002; computed by pymoo).
    """
    size, searcher = generation_size(results.identity), results.identity.get("searcher")
    if size is None or not isinstance(searcher, Mapping) or identifier(searcher.get("_target_")) != _NSGA2:
        return None
    # pymoo imports slowly, and a page without selected networks does not need it
    from pymoo.algorithms.moo.nsga2 import RankAndCrowding
    from pymoo.core.population import Population
    from pymoo.core.problem import Problem

    survival, problem = RankAndCrowding(), Problem(n_var=1, n_obj=len(results.names))
    generations, kept, found = generation_indices(results), Population.empty(), dict[int, Indices]()
    for number in range(int(generations.max(initial=-1)) + 1):
        found[number] = np.sort(np.array([int(each.X[0]) for each in kept], dtype=np.intp))
        rows = np.flatnonzero(generations == number)
        fresh = Population.new("X", rows[:, None], "F", results.values[rows])
        rivals = Population.merge(kept, fresh)
        kept = survival.do(problem, rivals, n_survive=min(size, len(rivals))) if len(rivals) else rivals
    return found
