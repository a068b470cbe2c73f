"""Points as rows of numbers, for models that learn an objective from them."""

from collections.abc import Sequence

import numpy as np

from evonas.space.genes import Axis, Gene
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class Features:
    """Turns canonical genotypes into (N, D) numbers from 0 to 1.

    Numbers and bits keep their order; an axis of more than two words becomes one column per
    word, for words have no order. An axis that is not expressed is 0 and its smallest choice
    lies above that, so that a block which is absent differs from one which is small.

    Args:
        space: where the genotypes come from.
    """

    def __init__(self, space: Space) -> None:
        self._space = space

    def __call__(self, points: Sequence[Genotype]) -> np.ndarray:
        """(N, D) features; equal rows mean equal points."""
        genes = np.array([point.genes for point in points], dtype=float)
        genes = genes.reshape(len(points), len(self._space.cardinalities))
        present = self._space.expressed_rows(genes.astype(int))
        columns = []
        for gene in self._space.genes:
            span = self._space.spans[gene.name]
            columns.append(_columns(gene, genes[:, span], present[:, span]))
        return np.hstack(columns)


def _columns(gene: Gene, chosen: np.ndarray, present: np.ndarray) -> np.ndarray:
    """(N, W) features of one gene from its part of the layouts, and whether that means something."""
    if not isinstance(gene, Axis):
        return chosen
    if isinstance(gene.choices[0], str) and gene.cardinality > 2:
        return np.asarray((chosen == np.arange(gene.cardinality)) * present, dtype=float)
    if gene.expressed_by is None:
        return np.asarray(chosen / max(gene.cardinality - 1, 1))
    return np.asarray((chosen + 1) / gene.cardinality * present)
