"""Continuous relaxation of genotypes for searchers in a real vector space.

An axis has one number per choice and a bit has two (off, on); the largest number is the choice (argmax). N
individuals, D numbers in all.
"""

from collections.abc import Sequence

import numpy as np

from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class Relaxation:
    """Encodes genotypes of a space as (N, D) vectors in [-1, 1] and decodes them."""

    def __init__(self, space: Space) -> None:
        self._space = space
        counts = np.array(space.cardinalities)
        self._starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(int)
        self._counts = counts
        self.width = int(counts.sum())

    def encode(self, points: Sequence[Genotype]) -> np.ndarray:
        """(N, D) vectors: 1 at the chosen value of each gene, -1 elsewhere."""
        rows = np.full((len(points), self.width), -1.0)
        for at, point in enumerate(points):
            rows[at, self._starts + np.array(point.genes)] = 1.0
        return rows

    def decode(self, rows: np.ndarray) -> list[Genotype]:
        """Decode (N, D) vectors by the argmax of each gene.

        If a row of bits has too few ones, the bits closest to being on are set. Other violations, such as a
        cell without a path, are repaired at random, with a seed that depends on the decoded genes alone.
        """
        return [self._point(row) for row in rows]

    def normalise(self, rows: np.ndarray) -> np.ndarray:
        """(N, D) vectors with the numbers of each gene scaled to [-1, 1]; constant ones become 0."""
        low = np.minimum.reduceat(rows, self._starts, axis=1).repeat(self._counts, axis=1)
        high = np.maximum.reduceat(rows, self._starts, axis=1).repeat(self._counts, axis=1)
        span = np.where(high > low, high - low, 1.0)
        return np.where(high > low, 2 * (rows - low) / span - 1, 0.0)

    def _point(self, row: np.ndarray) -> Genotype:
        parts = [row[at : at + n] for at, n in zip(self._starts, self._counts, strict=True)]
        vector = [int(np.argmax(part)) for part in parts]
        for bits in self._space.bits:
            places = range(*self._space.spans[bits.name].indices(len(vector)))
            missing = bits.minimum - sum(vector[at] for at in places)
            off = [at for at in places if not vector[at]]
            for at in sorted(off, key=lambda at: float(parts[at][0] - parts[at][1]))[: max(missing, 0)]:
                vector[at] = 1
        return self._space.repair(vector, generator(0, f"relaxation/{vector}"))
