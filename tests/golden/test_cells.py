"""The number of cells that differ is the published one."""

from itertools import product

import numpy as np
import pytest

from evonas.space import cell


def every_cell() -> np.ndarray:
    """The code of each canonical cell."""
    bits = np.arange(1 << len(cell.PAIRS))
    edges = bits[np.bitwise_count(bits) <= cell.MAX_EDGES][:, None] >> np.arange(len(cell.PAIRS)) & 1
    live = pruned(np.pad(edges, ((0, 0), (cell.INNER, 0))))
    live = live[cell.is_cell(live)]
    # most cells are the same once their dead parts are gone
    _, first = np.unique(live[:, cell.INNER :] @ (1 << np.arange(len(cell.PAIRS))), return_index=True)
    graphs = cell.cells_of(np.unique(cell.codes_of(live[first])))
    operations = np.array(list(product(range(cell.OPERATIONS), repeat=cell.INNER)))
    found = np.repeat(graphs, len(operations), axis=0)
    found[:, : cell.INNER] = np.tile(operations, (len(graphs), 1))
    return np.unique(cell.codes_of(pruned(found)))


def pruned(rows: np.ndarray) -> np.ndarray:
    """In pieces, for the sake of memory."""
    return np.concatenate([cell.pruned(piece) for piece in np.array_split(rows, len(rows) // 4096 + 1)])


@pytest.mark.slow
def test_there_are_exactly_423624_cells() -> None:
    """Ying et al. 2019, section 2.1: graphs up to isomorphism, at most 7 vertices and 9 edges."""
    codes = every_cell()
    assert len(codes) == 423_624
    some = codes[:: len(codes) // 2000]
    np.testing.assert_array_equal(cell.codes_of(cell.pruned(cell.cells_of(some))), some)
