"""Encodings (views) of points for surrogates: genes, live edges and paths of cells."""

from collections.abc import Callable, Sequence

import numpy as np

from evonas.search.surrogates.encoding import GenotypeEncoding
from evonas.space.edges import EdgeCell
from evonas.space.genotype import Genotype
from evonas.space.space import Space

Encoding = Callable[[Sequence[Genotype]], np.ndarray]


def encodings_of(space: Space) -> tuple[Encoding, ...]:
    """Encodings of a space: its genes, and for edge cells also the live edges and the paths.

    Costs depend on the genes, as they count operations without effect on the output; errors depend on the
    computed function, which live edges and paths describe.

    Returns:
        Functions from N points to (N, D) features.
    """
    genes = GenotypeEncoding(space)
    return (genes, LiveEdgeEncoding(space), PathEncoding(space)) if isinstance(space, EdgeCell) else (genes,)


class LiveEdgeEncoding:
    """One-hot operations of the edges on a path from input to output, and the count of each operation."""

    def __init__(self, space: EdgeCell) -> None:
        self._space, self._words = space, np.arange(len(space.axes[0].choices))

    def __call__(self, points: Sequence[Genotype]) -> np.ndarray:
        """(N, D) features, independent of edges that are on no path."""
        held = self._space.live(_rows(points))[..., None] == self._words
        counts = held.sum(axis=1) / (held.shape[1] / 2)
        return np.hstack([held.reshape(len(held), -1), counts]).astype(float)


class PathEncoding:
    """Operations on the paths of a cell, independent of the numbering of its nodes."""

    def __init__(self, space: EdgeCell) -> None:
        self._space = space

    def __call__(self, points: Sequence[Genotype]) -> np.ndarray:
        """(N, D) features, equal for isomorphic cells."""
        return self._space.paths(_rows(points))


def _rows(points: Sequence[Genotype]) -> np.ndarray:
    return np.array([point.genes for point in points], dtype=int)
