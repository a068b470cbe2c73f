"""Encoding of genotypes as feature vectors for surrogates."""

from collections.abc import Sequence

import numpy as np

from evonas.space.genes import Axis, Gene
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class GenotypeEncoding:
    """Encodes canonical genotypes as (N, D) features in [0, 1].

    Numeric axes and bits are one ordinal column each; an axis of more than two strings is one-hot. An axis
    that may be unexpressed is 0 where it is, and its smallest choice is positive, which distinguishes an
    absent block from a small one.

    Args:
        space: search space of the genotypes.
    """

    def __init__(self, space: Space) -> None:
        self._space = space

    def __call__(self, points: Sequence[Genotype]) -> np.ndarray:
        """(N, D) features; distinct points have distinct rows."""
        genes = np.array([point.genes for point in points], dtype=float)
        genes = genes.reshape(len(points), len(self._space.cardinalities))
        present = self._space.expressed_rows(genes.astype(int))
        columns = []
        for gene in self._space.genes:
            span = self._space.spans[gene.name]
            columns.append(_columns(gene, genes[:, span], present[:, span]))
        return np.hstack(columns)


def _columns(gene: Gene, chosen: np.ndarray, present: np.ndarray) -> np.ndarray:
    """(N, W) features of one gene, from its (N, V) chosen indices and whether it is expressed."""
    if not isinstance(gene, Axis):
        return chosen
    if isinstance(gene.choices[0], str) and gene.cardinality > 2:
        return np.asarray((chosen == np.arange(gene.cardinality)) * present, dtype=float)
    if gene.expressed_by is None:
        return np.asarray(chosen / max(gene.cardinality - 1, 1))
    return np.asarray((chosen + 1) / gene.cardinality * present)
