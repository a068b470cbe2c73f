"""Multiply-adds of arrays of genotypes, from the cached costs of a family's steps. Torch-free."""

from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import SupernetFamily, column, level_macs
from evonas.supernets.step import Place, Size, Step

Vectors = NDArray[np.integer]
# a place whose genes have more combinations than an integer can number is not tabulated
_MOST = 1 << 62


class CostTable:
    """Backbone multiply-adds of arrays of genotypes.

    The cost of a network is the sum over its steps. The step at a place depends on the genes that `family.places`
    lists for it, so every combination of these genes is computed once, when it first occurs. Where there are too many
    combinations, genotypes are computed one by one.

    Args:
        family: family of the genotypes.
        size: height and width of the image in pixels.
        for_levels: whether to count as cost levels do, see `base.level_macs`.
    """

    def __init__(self, family: SupernetFamily, size: Size, for_levels: bool = False) -> None:
        self.family, self.size, self._for_levels = family, size, for_levels
        self._places: list[_PlaceCosts] = []
        self._is_tabulated = True
        for place, genes in family.places.items():
            columns = [column(self.space, gene) for gene in genes]
            counts = [self.space.cardinalities[each] for each in columns]
            self._is_tabulated = self._is_tabulated and prod(counts) <= _MOST
            if not self._is_tabulated:
                break
            # mixed-radix weights that encode the indices of the genes as one integer
            radix = np.cumprod([1, *counts[:-1]], dtype=np.int64)[: len(columns)]
            self._places.append(_PlaceCosts(place, columns, radix))

    @property
    def space(self) -> Space:
        """The search space."""
        return self.family.space

    def macs(self, vectors: Vectors) -> NDArray[np.int64]:
        """Multiply-adds of each row of integer layouts, canonical or not."""
        rows = np.asarray(vectors, dtype=np.int64)
        if not self._is_tabulated:
            paths = (self.family.path(self.space.from_vector(row)) for row in rows.tolist())
            return np.array([sum(map(self._count, path)) for path in paths], dtype=np.int64)
        # the step at a place depends on its genes alone in canonical form
        rows = self.space.canonical_rows(rows)
        total = np.zeros(len(rows), dtype=np.int64)
        for place in self._places:
            codes = rows[:, place.columns] @ place.radix
            distinct, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
            for code, index in zip(distinct.tolist(), first.tolist(), strict=True):
                if code not in place.known:
                    steps = self.family.path(Genotype(self.space.name, tuple(rows[index].tolist())))
                    place.known[code] = sum(self._count(step) for step in steps if step.at == place.at)
            costs = np.array([place.known[code] for code in distinct.tolist()], dtype=np.int64)
            total += costs[inverse]
        return total

    def _count(self, step: Step) -> int:
        if self._for_levels:
            return level_macs(self.family, step, self.size)
        return self.family.price(step, self.size).macs

    def of(self, genotype: Genotype) -> int:
        """Multiply-adds of one genotype."""
        return int(self.macs(np.array([genotype.genes]))[0])


@dataclass(slots=True)
class _PlaceCosts:
    """The costs at one place, by a code of the genes that determine the step there."""

    at: Place
    columns: list[int]
    radix: NDArray[np.int64]
    known: dict[int, int] = field(default_factory=dict)
