"""Continuous encodings of genotypes for searchers in a real vector space.

An encoding is a matrix of one-hot rows, written as one vector: the largest number of each row is its choice (argmax).
`Relaxation` has a row for each gene of any space; `layers.LayerMatrix` has a row for each layer. N individuals, D
numbers in all.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class Encoding(Protocol):
    """What searchers need to know of an encoding.

    Attributes:
        width: D.
    """

    width: int

    def encode(self, points: Sequence[Genotype]) -> np.ndarray:
        """(N, D) vectors: 1 at the chosen value of each row, -1 elsewhere."""
        ...

    def decode(self, rows: np.ndarray) -> list[Genotype | None]:
        """The points of (N, D) vectors; None for those that are no network."""
        ...

    def normalise(self, rows: np.ndarray) -> np.ndarray:
        """(N, D) vectors with the numbers of each row of the matrix scaled to [-1, 1]; constant ones become 0."""
        ...

    def imposed(self, rows: np.ndarray, points: Sequence[Genotype]) -> np.ndarray:
        """(N, D) vectors of the same numbers that decode to N points: the largest of each row changes its place."""
        ...


class OneHotRows:
    """The part of an encoding that does not depend on what its rows mean.

    Args:
        counts: number of choices of each row of the matrix.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self._counts = np.array(counts)
        self._starts = np.concatenate([[0], np.cumsum(self._counts)[:-1]]).astype(int)
        self.width = int(self._counts.sum())

    def encode(self, points: Sequence[Genotype]) -> np.ndarray:
        """(N, D) vectors: 1 at the chosen value of each row, -1 elsewhere."""
        rows = np.full((len(points), self.width), -1.0)
        for at, point in enumerate(points):
            rows[at, self._starts + self._words(point)] = 1.0
        return rows

    def normalise(self, rows: np.ndarray) -> np.ndarray:
        """(N, D) vectors with the numbers of each row of the matrix scaled to [-1, 1]; constant ones become 0."""
        low = np.minimum.reduceat(rows, self._starts, axis=1).repeat(self._counts, axis=1)
        high = np.maximum.reduceat(rows, self._starts, axis=1).repeat(self._counts, axis=1)
        span = np.where(high > low, high - low, 1.0)
        return np.where(high > low, 2 * (rows - low) / span - 1, 0.0)

    def imposed(self, rows: np.ndarray, points: Sequence[Genotype]) -> np.ndarray:
        """(N, D) vectors of the same numbers that decode to N points: the largest of each row changes its place."""
        changed = np.array(rows, dtype=float)
        for row, point in zip(changed, points, strict=True):
            wanted, found = self._starts + self._words(point), self._starts + self._largest(row)
            row[wanted], row[found] = row[found], row[wanted]
        return changed

    def _largest(self, row: np.ndarray) -> np.ndarray:
        """The index of the largest number of each row of the matrix."""
        parts = zip(self._starts.tolist(), self._counts.tolist(), strict=True)
        return np.array([int(np.argmax(row[at : at + count])) for at, count in parts])

    def _words(self, point: Genotype) -> np.ndarray:
        """The index of a point's choice in each row of the matrix."""
        raise NotImplementedError


class Relaxation(OneHotRows):
    """One row for each gene of a space: a number for each choice of an axis, and two for a bit (off, on)."""

    def __init__(self, space: Space) -> None:
        super().__init__(space.cardinalities)
        self._space = space

    def decode(self, rows: np.ndarray) -> list[Genotype | None]:
        """Decode (N, D) vectors by the argmax of each gene; every vector means a point.

        If a row of bits has too few ones, the bits closest to being on are set. Other violations, such as a
        cell without a path, are repaired at random, with a seed that depends on the decoded genes alone.
        """
        return [self._point(row) for row in rows]

    def _words(self, point: Genotype) -> np.ndarray:
        return np.array(point.genes)

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
