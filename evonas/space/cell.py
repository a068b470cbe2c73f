"""Cell spaces over graphs: operations at the vertices, edges as bits, isomorphic cells as one point.

The cell of NAS-Bench-101 (Ying et al. 2019, arXiv 1902.09635) has an input, up to five operations and an output in
topological order, and at most nine edges. Parts on no path from input to output have no effect, and isomorphic cells
are equal; 423 624 distinct cells remain.
"""

from collections.abc import Sequence
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray

from evonas.errors import UserError
from evonas.space.genes import Axis, Bits
from evonas.space.genotype import Genotype
from evonas.space.space import Opening, Space

INNER, VERTICES, MAX_EDGES, OPERATIONS = 5, 7, 9, 3
# number of distinct layouts after pruning and renaming
SIZE = 18_991_192
PAIRS = tuple(combinations(range(VERTICES), 2))
_FROM, _TO = np.array(PAIRS).T
# a code has two low bits per operation and one bit per edge; a backward edge outweighs all others
_OPERATION_BITS = 2 * INNER
_BACKWARDS = float(1 << 40)
_CHUNK = 4096
# samples per attempt, three quarters of which are valid cells
_TRIES = 32
Rows = NDArray[np.int64]


def _weights() -> NDArray[np.float64]:
    """(26, 120): the contribution of each gene to the code of a cell, for each permutation of the inner vertices."""
    found = np.empty((INNER + len(PAIRS), 120))
    for column, order in enumerate(permutations(range(1, INNER + 1))):
        place = (0, *order, VERTICES - 1)
        found[:INNER, column] = [4.0 ** (INNER - place[vertex]) for vertex in range(1, INNER + 1)]
        for row, (source, target) in enumerate(PAIRS, start=INNER):
            edge = place[source], place[target]
            is_backwards = edge[0] > edge[1]
            bit = 0 if is_backwards else _OPERATION_BITS + len(PAIRS) - 1 - PAIRS.index(edge)
            found[row, column] = _BACKWARDS if is_backwards else float(1 << bit)
    return found


_WEIGHTS = _weights()


class CellSpace(Space):
    """A space of five operations and six rows of bits, one bit for each later vertex.

    The canonical form is the pruned cell under the vertex permutation with the smallest code. Layouts that are no cell
    (no path, or more than nine edges) are points too, without an entry in a table; samples, repaired vectors and
    neighbours are cells.
    """

    def size(self) -> int:
        """The number of canonical layouts; 423 624 of them are cells."""
        return SIZE

    def repair(self, vector: Sequence[int] | np.ndarray, rng: np.random.Generator) -> Genotype:
        """A canonical cell close to a vector: adds random edges until there is a path, removes some above nine.

        Raises:
            UserError: the length is wrong, or an integer is out of bounds.
        """
        row = np.array(vector, dtype=np.int64)
        problem = self._out_of_bounds(tuple(row.tolist()))
        if problem is not None:
            raise UserError(*problem)
        while not has_path(live := pruned(row[None]))[0]:
            off = np.flatnonzero(row[INNER:] == 0)
            row[INNER + int(rng.choice(off))] = 1
        while live[0, INNER:].sum() > MAX_EDGES:
            live = _without_one(live[0], rng)
        return self.from_vector(live[0])

    def sample(self, rng: np.random.Generator, opened: Opening | None = None) -> Genotype:
        """A random cell: uniform operations and edges, resampled until the cell is valid.

        This is the sampling of the benchmark's authors; within an opening, an invalid sample is repaired.
        """
        if opened is None:
            operations = rng.integers(OPERATIONS, size=(_TRIES, INNER))
            live = pruned(np.concatenate([operations, rng.integers(2, size=(_TRIES, len(PAIRS)))], axis=1))
            valid = is_cell(live)
            if valid.any():
                return self.from_vector(live[valid.argmax()])
        return super().sample(rng, opened)

    def canonical_rows(self, rows: np.ndarray) -> np.ndarray:
        """(N, 26) layouts in canonical form, vectorised for large tables."""
        return cells_of(codes_of(pruned(np.asarray(rows, dtype=np.int64))))

    def neighbours(self, genotype: Genotype) -> list[Genotype]:
        """The cells one operation or one edge away."""
        return [point for point in super().neighbours(genotype) if is_cell(np.array([point.genes]))[0]]

    def _extreme(self, opened: Opening | None, is_largest: bool) -> Genotype:
        """Smallest: the input as output; largest: a chain of the last operation with three edges from the input."""
        self.narrowed(opened)
        chain = {(at, at + 1) for at in range(VERTICES - 1)} | {(0, 2), (0, 3), (0, 4)}
        edges = chain if is_largest else {(0, VERTICES - 1)}
        operation = OPERATIONS - 1 if is_largest else 0
        return self.from_vector([operation] * INNER + [int(pair in edges) for pair in PAIRS])


def cell_space(name: str, operations: Sequence[str]) -> CellSpace:
    """The space of cells over three operations, smallest first; pruned vertices have the first.

    Raises:
        UserError: the number of operations is not three.
    """
    if len(operations) != OPERATIONS:
        raise UserError(f"A cell space needs {OPERATIONS} operations, got {list(operations)}.", "Name three.")
    axes = [Axis(f"o{vertex}", tuple(operations)) for vertex in range(1, INNER + 1)]
    bits = [Bits(f"e{row}", VERTICES - row, 0) for row in range(1, VERTICES)]
    return CellSpace(name, (*axes, *bits))


def pruned(rows: Rows) -> Rows:
    """(N, 26) cells without edges and operations on no path from input to output."""
    edges = np.zeros((len(rows), VERTICES, VERTICES), dtype=bool)
    edges[:, _FROM, _TO] = rows[:, INNER:] > 0
    reached, reaching = np.zeros((2, len(rows), VERTICES), dtype=bool)
    reached[:, 0] = reaching[:, -1] = True
    for vertex in range(1, VERTICES):
        reached[:, vertex] = (reached & edges[:, :, vertex]).any(axis=1)
        reaching[:, -1 - vertex] = (reaching & edges[:, -1 - vertex]).any(axis=1)
    live = reached & reaching
    kept = rows[:, INNER:] * (live[:, _FROM] & live[:, _TO])
    return np.concatenate([rows[:, :INNER] * live[:, 1:-1], kept], axis=1)


def _without_one(row: Rows, rng: np.random.Generator) -> Rows:
    """(1, 26) a pruned cell without one random edge, among those whose removal prunes the fewest others."""
    edges = INNER + np.flatnonzero(row[INNER:])
    rows = np.tile(row, (len(edges), 1))
    rows[np.arange(len(edges)), edges] = 0
    rows = pruned(rows)
    left = rows[:, INNER:].sum(axis=1)
    return rows[[int(rng.choice(np.flatnonzero(left == left.max())))]]


def is_cell(rows: Rows) -> NDArray[np.bool_]:
    """(N,) whether pruned layouts have a path and at most nine edges."""
    found: NDArray[np.bool_] = has_path(rows) & (rows[:, INNER:].sum(axis=1) <= MAX_EDGES)
    return found


def has_path(rows: Rows) -> NDArray[np.bool_]:
    """(N,) whether pruned layouts have an edge, and thus a path."""
    found: NDArray[np.bool_] = np.any(rows[:, INNER:] > 0, axis=1)
    return found


def codes_of(rows: Rows) -> NDArray[np.int64]:
    """(N,) smallest codes of pruned cells over all vertex permutations; equal if and only if cells are isomorphic."""
    chunks = [rows[at : at + _CHUNK].astype(np.float64) for at in range(0, len(rows), _CHUNK)]
    # sums are below 2**53, so the floating-point matrix product is exact
    codes = [(chunk @ _WEIGHTS).min(axis=1) for chunk in chunks]
    return np.concatenate([np.empty(0), *codes]).astype(np.int64)


def cells_of(codes: NDArray[np.int64]) -> Rows:
    """(N, 26) the cells of codes; the inverse of `codes_of` on canonical cells."""
    operations = codes[:, None] >> np.arange(_OPERATION_BITS - 2, -1, -2) & 3
    edges = codes[:, None] >> np.arange(_OPERATION_BITS + len(PAIRS) - 1, _OPERATION_BITS - 1, -1) & 1
    return np.concatenate([operations, edges], axis=1)
