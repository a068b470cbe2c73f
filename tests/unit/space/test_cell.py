"""Cells as graphs: equal cells are equal points, whatever their vertices are called."""

from itertools import permutations

import numpy as np
import pytest

from evonas.errors import UserError
from evonas.search.base import Observation
from evonas.search.baselines.random import RandomSearch
from evonas.search.diffusion.ednag import EDNAG
from evonas.search.diffusion.fitness import FrontFitness
from evonas.search.evolution.nsga2 import NSGA2
from evonas.space import cell
from evonas.space.macro import macro_space

OPERATIONS = ["maxpool3x3", "conv1x1-bn-relu", "conv3x3-bn-relu"]


@pytest.fixture(scope="module")
def space() -> cell.CellSpace:
    return cell.cell_space("nb101", OPERATIONS)


def renamed(genes: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...] | None:
    """The cell with its inner vertices renamed; None where an edge would point backwards."""
    place = (0, *order, 6)
    edges = {(place[i], place[j]) for (i, j), on in zip(cell.PAIRS, genes[5:], strict=True) if on}
    if any(source > target for source, target in edges):
        return None
    operations = {place[vertex]: genes[vertex - 1] for vertex in range(1, 6)}
    return (*(operations[vertex] for vertex in range(1, 6)), *(int(pair in edges) for pair in cell.PAIRS))


def test_renaming_vertices_changes_nothing(space: cell.CellSpace) -> None:
    rng, tried = np.random.default_rng(0), 0
    for _ in range(40):
        point = space.sample(rng)
        for order in permutations(range(1, 6)):
            other = renamed(point.genes, order)
            if other is not None:
                assert space.from_vector(other) == point
                tried += 1
    assert tried > 200


def test_dead_parts_mean_nothing(space: cell.CellSpace) -> None:
    alive = "nb101:o=conv3x3-bn-relu,{0},{0},{0},{0}/e=100000.{1}0001.0000.000.00.0"
    plain = space.parse(alive.format("maxpool3x3", "0"))
    # an edge into a vertex that leads nowhere
    assert space.parse(alive.format("conv1x1-bn-relu", "1")) == plain
    live = space.parse(alive.replace("o=conv3x3", "o=conv1x1").format("maxpool3x3", "0"))
    assert live != plain


def test_points_of_every_kind_are_valid_and_canonical(space: cell.CellSpace) -> None:
    rng = np.random.default_rng(1)
    points = [space.sample(rng) for _ in range(60)]
    near = [each for point in points[:5] for each in space.neighbours(point)]
    for point in (*points, *near, space.smallest(), space.largest()):
        assert space.contains(point) and space.canonical(point) == point
        assert space.parse(space.format(point)) == point
        edges = np.array(point.genes[5:])
        assert 1 <= edges.sum() <= 9
    assert len(set(points)) > 40 and len(set(near)) > 30
    assert sum(space.smallest().genes[5:]) == 1 and sum(space.largest().genes[5:]) == 9


@pytest.mark.parametrize(
    ("bits", "valid"),
    [
        ("000000.00000.0000.000.00.0", False),
        ("100000.10000.0000.000.00.0", False),
        ("111111.00001.0001.001.01.1", False),
        ("111101.00001.0001.001.00.0", True),
        ("000001.00000.0000.000.00.0", True),
    ],
)
def test_what_is_no_cell_is_a_point_that_has_no_entry(space: cell.CellSpace, bits: str, valid: bool) -> None:
    point = space.parse(f"nb101:o={','.join(OPERATIONS[:1] * 5)}/e={bits}")
    assert space.contains(point) and cell.is_cell(np.array([point.genes]))[0] == valid


def test_repair_keeps_valid_cells(space: cell.CellSpace) -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        point = space.sample(rng)
        assert space.repair(point.genes, rng) == point
    full = space.repair([2] * 5 + [1] * 21, rng)
    assert sum(full.genes[5:]) <= 9
    with pytest.raises(UserError, match="Gene o1 is 3"):
        space.repair([3] + [0] * 25, rng)


def test_a_cell_needs_three_operations() -> None:
    with pytest.raises(UserError, match="needs 3 operations"):
        cell.cell_space("nb101", ["a", "b"])


@pytest.mark.parametrize("kind", ["nsga2", "random", "ednag"])
def test_searchers_ask_cells_that_differ(space: cell.CellSpace, kind: str) -> None:
    searchers = {
        "nsga2": lambda: NSGA2(space, 0, 20, 60),
        "random": lambda: RandomSearch(space, 0, 20, 60),
        "ednag": lambda: EDNAG(space, 0, 20, 60, FrontFitness(), steps=10),
    }
    searcher, seen = searchers[kind](), []
    while asked := searcher.ask():
        seen += asked
        assert kind == "ednag" or cell.is_cell(np.array([point.genes for point in asked])).all()
        searcher.tell(
            [Observation(each, (float(sum(each.genes[:5])), -float(sum(each.genes[5:])))) for each in asked]
        )
    assert len(seen) == len(set(seen)) == 60
    assert all(space.contains(point) for point in seen)


def test_chains_differ_as_published() -> None:
    space = macro_space("macro", [2, 3, 3], ["identity", "mb3_k3", "mb6_k5"])
    points = list(space.points())
    assert len(points) == space.size() == 3969
    names = "identity,identity,mb3_k3,identity,mb6_k5,identity,identity,mb3_k3"
    moved = "identity,identity,mb3_k3,mb6_k5,identity,identity,mb3_k3,identity"
    assert space.format(space.parse(f"macro:m={names}")) == f"macro:m={moved}"
    assert space.contains(space.smallest()) and space.contains(space.largest())


def test_stages_have_layers() -> None:
    with pytest.raises(UserError, match="needs a layer"):
        macro_space("macro", [2, 0], ["a", "b"])
