"""Expression of conditional genes: masks, canonical layouts, counting and enumeration.

Legend: N layouts, V positions, A conditional axes.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from evonas.errors import UserError
from evonas.space.condition import Condition, condition_of
from evonas.space.genes import Axis, Bits, Gene

Part = tuple[int, ...]


class Expression:
    """The conditions of a space's genes.

    An axis that depends on an axis that is not expressed is not expressed either.

    Args:
        genes: genes of the space, in order.

    Raises:
        UserError: a condition refers to no gene, never holds, or depends on itself.
    """

    def __init__(self, genes: Sequence[Gene]) -> None:
        starts = np.cumsum([0, *(gene.width for gene in genes)]).tolist()
        self.spans = {
            gene.name: slice(start, start + gene.width) for gene, start in zip(genes, starts, strict=False)
        }
        self._genes, self._width = tuple(genes), starts[-1]
        found = [condition_of(gene, genes, self.spans) for gene in genes if isinstance(gene, Axis)]
        self.conditions = {each.axis: each for each in found if each is not None}
        self._chains = {name: self._chain(name) for name in self.conditions}

    def _chain(self, name: str) -> list[Condition]:
        """All conditions of an axis, its own first, then those of the axes that it depends on."""
        chain = [self.conditions[name]]
        while (on := self.conditions.get(chain[-1].on)) is not None:
            chain.append(on)
            if on.axis in {each.axis for each in chain[:-1]}:
                raise UserError(
                    f"Axis {name} is expressed by itself: {' <- '.join(each.axis for each in chain)}.",
                    "Let one of them always be expressed.",
                )
        return chain

    def expressed(self, rows: np.ndarray) -> NDArray[np.bool_]:
        """(N, V) whether each position of (N, V) layouts is expressed; bits always are."""
        mask = np.ones((len(rows), self._width), dtype=bool)
        for targets, columns, owners, tables in self._levels:
            held = tables[np.arange(len(targets)), self._with_any(rows)[:, columns]]
            mask[:, targets] = held & mask[:, owners]
        return mask

    def canonical(self, rows: np.ndarray) -> np.ndarray:
        """(N, V) layouts with 0 at positions that are not expressed."""
        return np.asarray(rows * self.expressed(rows)) if self.conditions else rows

    def _with_any(self, rows: np.ndarray) -> np.ndarray:
        """Layouts with an additional column (any bit set) for each row of bits that a condition uses as a whole."""
        if not self._whole:
            return rows
        more = [rows[:, self.spans[name]].max(axis=1, keepdims=True) for name in self._whole]
        return np.concatenate([rows, *more], axis=1)

    @cached_property
    def _whole(self) -> list[str]:
        return list(dict.fromkeys(each.on for each in self.conditions.values() if len(each.places) > 1))

    @cached_property
    def _levels(self) -> list[tuple[NDArray[np.intp], ...]]:
        """For axes grouped by length of their chain: positions, deciding columns, positions of the deciding genes, and
        a table (A, choices) of whether the condition holds."""
        most = max((gene.cardinality for gene in self._genes), default=0)
        levels = []
        for length in sorted({len(chain) for chain in self._chains.values()}):
            level = [chain[0] for chain in self._chains.values() if len(chain) == length]
            targets = [self.spans[each.axis].start for each in level]
            columns = [
                self._width + self._whole.index(each.on) if len(each.places) > 1 else each.places[0]
                for each in level
            ]
            tables = [[index in each.held for index in range(most)] for each in level]
            owners = [self.spans[each.on].start for each in level]
            levels.append(tuple(map(np.array, (targets, columns, owners, tables))))
        return levels

    def count(self) -> int:
        """The number of canonical layouts with enough ones."""
        return prod(self._ways(gene) for gene in self._genes if gene.name not in self.conditions)

    def _ways(self, gene: Gene) -> int:
        """The number of settings of a gene and of all genes that depend on it."""
        decided = [
            (condition, self._ways(each))
            for each in self._genes
            if (condition := self.conditions.get(each.name)) is not None and condition.on == gene.name
        ]
        if isinstance(gene, Bits):
            return _ways_of_bits(gene, self.spans[gene.name].start, decided)
        return sum(
            prod(ways for condition, ways in decided if index in condition.held)
            for index in range(gene.cardinality)
        )

    def walk(self, settings: Sequence[Sequence[Part]]) -> Iterator[Part]:
        """Yields every canonical layout of one setting per gene, in the order of the settings."""
        yield from self._onward(settings, 0, ())

    def _onward(self, settings: Sequence[Sequence[Part]], at: int, head: Part) -> Iterator[Part]:
        if at == len(settings):
            yield head
            return
        for part in settings[at]:
            layout = head + part
            if all(self._fits(name, layout) for name in self._settled[at]):
                yield from self._onward(settings, at + 1, layout)

    def _fits(self, name: str, layout: Part) -> bool:
        """Whether an axis has index 0 or is expressed."""
        return not layout[self.spans[name].start] or all(
            any(layout[place] in each.held for place in each.places) for each in self._chains[name]
        )

    @cached_property
    def _settled(self) -> list[list[str]]:
        """For each gene, the conditional axes whose expression is determined once this gene is set."""
        order = {gene.name: at for at, gene in enumerate(self._genes)}
        settled: list[list[str]] = [[] for _ in self._genes]
        for name, chain in self._chains.items():
            settled[max(order[each] for each in (name, *(link.on for link in chain)))].append(name)
        return settled


def _ways_of_bits(bits: Bits, start: int, decided: Sequence[tuple[Condition, int]]) -> int:
    """The number of settings of a row of bits and of the axes that depend on it, by number of ones."""
    whole, single = 1, [1] * bits.length
    for condition, ways in decided:
        if len(condition.places) == bits.length > 1:
            whole *= ways
        else:
            single[condition.places[0] - start] *= ways
    found = [1]
    for ways in single:
        found = [off + on * ways for off, on in zip([*found, 0], [0, *found], strict=True)]
    return sum(count * (whole if ones else 1) for ones, count in enumerate(found) if ones >= bits.minimum)
