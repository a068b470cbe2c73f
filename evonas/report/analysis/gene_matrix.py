"""Genotypes of many networks as an integer matrix."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evonas.errors import UserError
from evonas.space.genes import Axis, Bits, Gene
from evonas.space.space import Space

Layouts: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class GeneMatrix:
    """Genotype vectors of N points of a space.

    Args:
        space: search space of the points.
        rows: (N, V) genotype vectors.
    """

    space: Space
    rows: Layouts

    @classmethod
    def of(cls, space: Space, genotypes: Sequence[str]) -> "GeneMatrix | None":
        """Parse formatted genotypes; None if one of them does not belong to the space."""
        try:
            rows = [space.parse(text).genes for text in genotypes]
        except UserError:
            return None
        return cls(space, np.array(rows, dtype=np.int64).reshape(len(rows), len(space.cardinalities)))

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """Genes of the space, in the order of the genotype vector."""
        return self.space.genes

    def differences(self, row: int, other: int) -> list[str]:
        """Changed genes from network `other` to network `row`, such as `e2 1 to 2` or `d3 1101 to 1001`.

        An axis that only one of both networks expresses is not listed; the gene that controls it is.
        """
        present = self.space.expressed_rows(self.rows[[row, other]])
        return [
            f"{gene.name} {before} to {now}"
            for gene, before, now in zip(self.genes, self.words(other), self.words(row), strict=True)
            if before != now and present[:, self.space.spans[gene.name].start].all()
        ]

    def words(self, row: int) -> list[str]:
        """Formatted choice of each gene of one network."""
        genes = tuple(self.rows[row].tolist())
        return [_word(gene, genes[self.space.spans[gene.name]]) for gene in self.genes]

    def codes(self) -> Layouts:
        """(N, G) one integer per gene: the index of its choice, or its bits as a binary number."""
        return np.stack(
            [_code(gene, self.rows[:, self.space.spans[gene.name]]) for gene in self.genes], axis=1
        )

    def amounts(self) -> Iterator[tuple[Gene, Layouts]]:
        """Genes with ordered choices, each with (N,) ordinal values (number of ones for bits)."""
        for gene in self.genes:
            if isinstance(gene, Bits) or not isinstance(gene.choices[0], str):
                yield gene, self.rows[:, self.space.spans[gene.name]].sum(axis=1)


def to_vectors(codes: Layouts, genes: Sequence[Gene]) -> Layouts:
    """(N, V) genotype vectors of (N, G) codes; inverse of `GeneMatrix.codes`."""
    columns = []
    for code, gene in zip(codes.T, genes, strict=True):
        shifts = np.arange(gene.length) if isinstance(gene, Bits) else None
        columns.append(code[:, None] if shifts is None else code[:, None] >> shifts & 1)
    return np.concatenate(columns, axis=1)


def _code(gene: Gene, columns: Layouts) -> Layouts:
    code: Layouts = columns[:, 0] if isinstance(gene, Axis) else columns @ (1 << np.arange(gene.length))
    return code


def _word(gene: Gene, indices: tuple[int, ...]) -> str:
    value: Any = gene.value(indices)
    return gene.show(value)
