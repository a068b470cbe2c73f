"""The genes of many networks as one table of integers, for everything that compares or explains them."""

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
class Genome:
    """A space and the integer layouts of some of its points, in the order of the search's facts.

    Args:
        space: which the points belong to.
        rows: (N, V), one point a row.
    """

    space: Space
    rows: Layouts

    @classmethod
    def of(cls, space: Space, genotypes: Sequence[str]) -> "Genome | None":
        """The genes of these text forms, or None if one of them is no point of the space."""
        try:
            rows = [space.parse(text).genes for text in genotypes]
        except UserError:
            return None
        return cls(space, np.array(rows, dtype=np.int64).reshape(len(rows), len(space.cardinalities)))

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The decisions of the space, in the order of the layout."""
        return self.space.genes

    def differences(self, row: int, other: int) -> list[str]:
        """What changed from another network to this one, gene by gene: `e2 1 to 2`, `d3 1101 to 1001`.

        An axis that only one of them expresses is no change of its own: the gene that decides it is one.
        """
        present = self.space.expressed_rows(self.rows[[row, other]])
        return [
            f"{gene.name} {before} to {now}"
            for gene, before, now in zip(self.genes, self.words(other), self.words(row), strict=True)
            if before != now and present[:, self.space.spans[gene.name].start].all()
        ]

    def words(self, row: int) -> list[str]:
        """The choice of every gene of one network, as the text form writes it."""
        genes = tuple(self.rows[row].tolist())
        return [_word(gene, genes[self.space.spans[gene.name]]) for gene in self.genes]

    def codes(self) -> Layouts:
        """(N, G) one integer for each gene: the index of a choice, or a row of bits as a binary number."""
        return np.stack(
            [_code(gene, self.rows[:, self.space.spans[gene.name]]) for gene in self.genes], axis=1
        )

    def amounts(self) -> Iterator[tuple[Gene, Layouts]]:
        """Every gene whose choices have an order of size, with the size of each network's choice."""
        for gene in self.genes:
            if isinstance(gene, Bits) or not isinstance(gene.choices[0], str):
                yield gene, self.rows[:, self.space.spans[gene.name]].sum(axis=1)


def spread_out(codes: Layouts, genes: Sequence[Gene]) -> Layouts:
    """(N, V) layouts of (N, G) codes: rows of bits become one column a bit again."""
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
