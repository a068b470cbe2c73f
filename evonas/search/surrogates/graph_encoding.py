"""The ways in which a space can describe its points to a model."""

from collections.abc import Callable, Sequence

import numpy as np

from evonas.search.surrogates.encoding import Features
from evonas.space.edges import EdgeCell
from evonas.space.genotype import Genotype
from evonas.space.space import Space

View = Callable[[Sequence[Genotype]], np.ndarray]


def views_of(space: Space) -> tuple[View, ...]:
    """Functions from points to (N, D) features: the genes, and for a cell also what it computes.

    Costs follow the genes, for they count operations that compute nothing; errors follow what is computed.
    """
    genes = Features(space)
    return (genes, Computed(space), Paths(space)) if isinstance(space, EdgeCell) else (genes,)


class Computed:
    """The operation on every edge of a cell that is on a whole path, then how many edges hold each."""

    def __init__(self, space: EdgeCell) -> None:
        self._space, self._words = space, np.arange(len(space.axes[0].choices))

    def __call__(self, points: Sequence[Genotype]) -> np.ndarray:
        """(N, D); cells that differ in unused edges have equal rows."""
        held = self._space.live(_rows(points))[..., None] == self._words
        counts = held.sum(axis=1) / (held.shape[1] / 2)
        return np.hstack([held.reshape(len(held), -1), counts]).astype(float)


class Paths:
    """What lies on the paths of a cell, whatever its nodes are called."""

    def __init__(self, space: EdgeCell) -> None:
        self._space = space

    def __call__(self, points: Sequence[Genotype]) -> np.ndarray:
        """(N, D); cells that are equal but for the names of their nodes have equal rows."""
        return self._space.paths(_rows(points))


def _rows(points: Sequence[Genotype]) -> np.ndarray:
    return np.array([point.genes for point in points], dtype=int)
