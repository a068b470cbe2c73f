"""Cell spaces with operations on edges, such as NAS-Bench-201: a declared space with its graph.

Legend: N points, E edges, K path types.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from evonas.errors import UserError
from evonas.space.declared import declared_space
from evonas.space.space import Space


@dataclass(frozen=True)
class EdgeCell(Space):
    """A space with one axis per edge of a graph, whose node 0 is the input and whose last node is the output.

    Genotypes keep operations that no path uses, since benchmarks distinguish them. `live` and `paths` describe what a
    cell computes, as features for surrogates.

    Args:
        edges: source and target node of each axis, in order.
        absent: the choice for no edge.
        same: the choice for the identity.
    """

    edges: tuple[tuple[int, int], ...]
    absent: str
    same: str

    @cached_property
    def walks(self) -> tuple[tuple[int, ...], ...]:
        """All paths from the input to the output, as indices of edges."""
        last = max(end for _, end in self.edges)

        def onward(node: int) -> list[tuple[int, ...]]:
            if node == last:
                return [()]
            leaving = [at for at, (start, _) in enumerate(self.edges) if start == node]
            return [(at, *rest) for at in leaving for rest in onward(self.edges[at][1])]

        return tuple(onward(0))

    def live(self, genes: np.ndarray) -> np.ndarray:
        """(N, E) genes, with -1 for edges that are absent or on no complete path."""
        used = np.zeros(genes.shape, dtype=bool)
        for walk in self.walks:
            used[:, walk] |= self._is_whole(genes, walk)[:, None]
        return np.where(used, genes, -1)

    def paths(self, genes: np.ndarray) -> np.ndarray:
        """(N, K) counts of complete paths by their multiset of operations except identities, and of live edges by
        operation, both scaled.

        Isomorphic cells have equal rows.
        """
        choices, live = self.axes[0].choices, self.live(genes)
        operations = [at for at, word in enumerate(choices) if word not in (self.absent, self.same)]
        longest = max(map(len, self.walks))
        lengths = product(range(longest + 1), repeat=len(operations))
        held = [each for each in lengths if sum(each) <= longest]
        place = {counts: at for at, counts in enumerate(held)}
        found = np.zeros((len(genes), len(held)))
        for walk in self.walks:
            counts = self._counted(genes[:, walk], operations)
            columns = [place[tuple(row)] for row in counts.tolist()]
            found[np.arange(len(genes)), columns] += self._is_whole(genes, walk)
        edge_counts = self._counted(live, [*operations, choices.index(self.same)])
        return np.hstack([found / 2, edge_counts / len(self.edges)])

    def _is_whole(self, genes: np.ndarray, walk: Sequence[int]) -> np.ndarray:
        return np.asarray((genes[:, walk] != self.axes[0].choices.index(self.absent)).all(axis=1))

    @staticmethod
    def _counted(genes: np.ndarray, words: Sequence[int]) -> np.ndarray:
        return np.stack([(genes == word).sum(axis=1) for word in words], axis=1)


def edge_cell(
    name: str, axes: Mapping[str, Sequence[str]], edges: Mapping[str, Sequence[int]], absent: str, same: str
) -> EdgeCell:
    """An `EdgeCell` from plain data.

    Args:
        name: name of the space.
        axes: operations by name of the edge, the same for every edge.
        edges: [source, target] by name of the edge; nodes count from 0, the input.
        absent: the operation for no edge.
        same: the identity operation.

    Raises:
        UserError: axes and edges differ, an edge does not point to a later node, or an operation is unknown.
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
                f"{word!r} is not an operation of space {name}.", "Set absent and same to operations."
            )
    pairs = [tuple(map(int, pair)) for pair in edges.values()]
    if any(len(pair) != 2 or not 0 <= pair[0] < pair[1] for pair in pairs):
        raise UserError(
            f"The edges of space {name} are {dict(edges)}.",
            "An edge is [source, target] with source < target.",
        )
    return EdgeCell(name, plain.genes, tuple((pair[0], pair[1]) for pair in pairs), absent, same)
