"""Multiply-adds of arrays of genotypes, from the cached costs of a family's steps. Torch-free."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import SupernetFamily, column
from evonas.supernets.step import Place, Size

Vectors = NDArray[np.integer]


class CostTable:
    """Backbone multiply-adds of arrays of genotypes.

    The cost of a network is the sum over its steps. The step at a place depends on the genes that `family.places`
    lists for it, so every combination of these genes is computed once, when it first occurs.

    Args:
        family: family of the genotypes.
        size: height and width of the image in pixels.
    """

    def __init__(self, family: SupernetFamily, size: Size) -> None:
        self.family, self.size = family, size
        self._places: list[_PlaceCosts] = []
        for place, genes in family.places.items():
            columns = [column(self.space, gene) for gene in genes]
            counts = [self.space.cardinalities[each] for each in columns]
            # mixed-radix weights that encode the indices of the genes as one integer
            radix = np.cumprod([1, *counts[:-1]], dtype=np.int64)[: len(columns)]
            self._places.append(_PlaceCosts(place, columns, radix))

    @property
    def space(self) -> Space:
        """The search space."""
        return self.family.space

    def macs(self, vectors: Vectors) -> NDArray[np.int64]:
        """Multiply-adds of each row of integer layouts, canonical or not."""
        # the step at a place depends on its genes alone in canonical form
        rows = self.space.canonical_rows(np.asarray(vectors, dtype=np.int64))
        total = np.zeros(len(rows), dtype=np.int64)
        for place in self._places:
            codes = rows[:, place.columns] @ place.radix
            for code in np.unique(codes).tolist():
                if code not in place.known:
                    row = rows[int(np.argmax(codes == code))]
                    steps = self.family.path(Genotype(self.space.name, tuple(row.tolist())))
                    costs = (self.family.price(step, self.size).macs for step in steps if step.at == place.at)
                    place.known[code] = sum(costs)
            total += place.costs(codes)
        return total

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

    def costs(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The cost of each code; all codes must be known."""
        keys = np.array(sorted(self.known), dtype=np.int64)
        values = np.array([self.known[key] for key in keys.tolist()], dtype=np.int64)
        return values[np.searchsorted(keys, codes)]
