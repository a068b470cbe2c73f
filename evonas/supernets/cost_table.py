"""Multiply-adds of many subnets at once: the prices of a family's steps, each asked once."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import SupernetFamily, column
from evonas.supernets.step import Place, Size

Vectors = NDArray[np.integer]


class CostTable:
    """Backbone multiply-adds of whole arrays of genotypes.

    A network costs the sum of its steps. What stands at a place depends on the genes that `family.places`
    names for it, so every combination of those is priced once, when it first occurs. Free of torch.

    Args:
        family: of the genotypes.
        size: of one image, in pixels.
    """

    def __init__(self, family: SupernetFamily, size: Size) -> None:
        self.family, self.size = family, size
        self._places = [
            _PlacePrices(place, *_columns(self.space, genes)) for place, genes in family.places.items()
        ]

    @property
    def space(self) -> Space:
        """Of the genotypes."""
        return self.family.space

    def macs(self, vectors: Vectors) -> NDArray[np.int64]:
        """Multiply-adds of each row of integer layouts, canonical or not."""
        rows = np.asarray(vectors, dtype=np.int64)
        total = np.zeros(len(rows), dtype=np.int64)
        for place in self._places:
            codes = rows[:, place.columns] @ place.radix
            for code in np.unique(codes).tolist():
                if code not in place.known:
                    place.known[code] = self._price(place.at, rows[int(np.argmax(codes == code))])
            total += place.priced(codes)
        return total

    def of(self, genotype: Genotype) -> int:
        """Multiply-adds of one genotype."""
        return int(self.macs(np.array([genotype.genes]))[0])

    def _price(self, at: Place, row: Vectors) -> int:
        steps = self.family.path(self.space.from_vector(row.tolist()))
        return sum(self.family.price(step, self.size).macs for step in steps if step.at == at)


@dataclass(slots=True)
class _PlacePrices:
    """The prices at one place, by a code of the genes that decide there."""

    at: Place
    columns: list[int]
    radix: NDArray[np.int64]
    known: dict[int, int] = field(default_factory=dict)

    def priced(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The price of each code, all of which are known."""
        keys = np.array(sorted(self.known), dtype=np.int64)
        prices = np.array([self.known[key] for key in keys.tolist()], dtype=np.int64)
        return prices[np.searchsorted(keys, codes)]


def _columns(space: Space, genes: tuple[str, ...]) -> tuple[list[int], NDArray[np.int64]]:
    """Where some genes stand in the layout, and the weights that make one number of their indices."""
    columns = [column(space, gene) for gene in genes]
    counts = [space.cardinalities[column] for column in columns]
    radix = np.cumprod([1, *counts[:-1]], dtype=np.int64)[: len(columns)]
    return columns, radix
