"""Cells whose operations sit on edges, such as those of NAS-Bench-201: a declared space that knows its graph.

N points, E edges.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from evonas.errors import UserError
from evonas.space.declared import declared_space
from evonas.space.space import Space


@dataclass(frozen=True)
class EdgeCell(Space):
    """A space with one axis per edge of a graph, whose node 0 is the input and whose last node is the output.

    Genotypes keep operations that no path uses, because benchmarks count and train them apart. `live` and
    `paths` say what such a cell computes, for models that learn from points.

    Args:
        edges: of each axis, in order: the nodes from and to.
        absent: the word for no edge.
        same: the word for the identity.
    """

    edges: tuple[tuple[int, int], ...]
    absent: str
    same: str

    @cached_property
    def walks(self) -> tuple[tuple[int, ...], ...]:
        """Every way from the input to the output, as positions of edges."""
        last = max(end for _, end in self.edges)

        def onward(node: int) -> list[tuple[int, ...]]:
            if node == last:
                return [()]
            leaving = [at for at, (start, _) in enumerate(self.edges) if start == node]
            return [(at, *rest) for at in leaving for rest in onward(self.edges[at][1])]

        return tuple(onward(0))

    def live(self, genes: np.ndarray) -> np.ndarray:
        """(N, E) words' indices of (N, E) genes, -1 on an edge that is absent or on no whole path."""
        used = np.zeros(genes.shape, dtype=bool)
        for walk in self.walks:
            used[:, walk] |= self._is_whole(genes, walk)[:, None]
        return np.where(used, genes, -1)

    def paths(self, genes: np.ndarray) -> np.ndarray:
        """(N, K) how many whole paths hold each multiset of operations, identities left out; then, for each
        operation, how many live edges hold it.

        Two cells that differ by the names of their nodes have equal rows.
        """
        kinds, live = self._operations, self.live(genes)
        longest = max(map(len, self.walks))
        held = [each for each in product(range(longest + 1), repeat=len(kinds)) if sum(each) <= longest]
        place = {counts: at for at, counts in enumerate(held)}
        found = np.zeros((len(genes), len(held)))
        for walk in self.walks:
            counts = self._counted(genes[:, walk], kinds)
            columns = [place[tuple(row)] for row in counts.tolist()]
            found[np.arange(len(genes)), columns] += self._is_whole(genes, walk)
        words = [*kinds, self._index(self.same)]
        return np.hstack([found / 2, self._counted(live, words) / len(self.edges)])

    @cached_property
    def _operations(self) -> tuple[int, ...]:
        plain = (self.absent, self.same)
        return tuple(at for at, word in enumerate(self.axes[0].choices) if word not in plain)

    def _index(self, word: str) -> int:
        return self.axes[0].choices.index(word)

    def _is_whole(self, genes: np.ndarray, walk: Sequence[int]) -> np.ndarray:
        return np.asarray((genes[:, walk] != self._index(self.absent)).all(axis=1))

    @staticmethod
    def _counted(genes: np.ndarray, words: Sequence[int]) -> np.ndarray:
        return np.stack([(genes == word).sum(axis=1) for word in words], axis=1)


def edge_cell(
    name: str, axes: Mapping[str, Sequence[str]], edges: Mapping[str, Sequence[int]], absent: str, same: str
) -> EdgeCell:
    """An `EdgeCell` from plain data.

    Args:
        axes: operations by the name of the edge, the same for every edge.
        edges: [from, to] by the name of the edge; nodes count from 0, the input.
        absent: the operation that is no edge.
        same: the operation that is the identity.

    Raises:
        UserError: axes and edges differ, an edge does not lead onward, or a word is no operation.
    """
    plain = declared_space(name, axes)
    if list(edges) != [axis.name for axis in plain.axes] or len({axis.choices for axis in plain.axes}) > 1:
        raise UserError(
            f"Space {name} has the axes {', '.join(axes)} and the edges {', '.join(edges)}.",
            "Give every axis its edge, in one order, and all of them the same operations.",
        )
    for word in (absent, same):
        if word not in plain.axes[0].choices:
            raise UserError(
                f"{word!r} is no operation of space {name}.", "Set absent and same to operations."
            )
    return EdgeCell(name, plain.genes, _checked(name, edges), absent, same)


def _checked(name: str, edges: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    pairs = [tuple(map(int, pair)) for pair in edges.values()]
    if any(len(pair) != 2 or not 0 <= pair[0] < pair[1] for pair in pairs):
        raise UserError(
            f"The edges of space {name} are {dict(edges)}.", "An edge is [from, to], and from is the smaller."
        )
    return tuple((pair[0], pair[1]) for pair in pairs)
