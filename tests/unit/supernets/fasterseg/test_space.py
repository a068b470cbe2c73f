"""The space of two branches: paths, cells that are left out, neutral genes, and the exact number of networks."""

from typing import Any

import numpy as np
import pytest

from evonas.errors import UserError
from evonas.space.space import Space
from evonas.supernets.fasterseg.space import (
    SKIP,
    TwoBranchSpace,
    architecture,
    fasterseg_space,
    fewest_cells,
    genotype_of,
    paths_to,
)

SPACE = fasterseg_space()


def _sampled(space: TwoBranchSpace, count: int) -> list[Any]:
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(count)]


def test_paths() -> None:
    pairs = paths_to(2, 16)
    assert len(pairs) == 45 and len(paths_to(1, 16)) == 12 and paths_to(0, 16) == ((),)
    assert min(one for one, _ in pairs) == 2 and max(one for one, _ in pairs) == 10
    assert min(two for _, two in pairs) == 5 and max(two for _, two in pairs) == 13
    assert all(two - one >= 3 for one, two in pairs)
    assert [fewest_cells(target, 16) for target in (0, 1, 2)] == [5, 7, 9]


def test_genes() -> None:
    counts: dict[str, int] = {}
    for axis in SPACE.axes:
        counts[axis.name[0]] = counts.get(axis.name[0], 0) + 1
    assert counts == {"a": 1, "b": 1, "q": 3, "e": 12, "f": 14, "g": 10, "u": 12, "v": 14, "w": 10}
    assert SPACE.members["paths"] == ("a1", "b1") and len(SPACE.members["width"]) == 36
    assert "b1" not in fasterseg_space(branches=(32, 8)).spans


def test_equal_networks_are_one_point() -> None:
    rng = np.random.default_rng(1)
    for genotype in _sampled(SPACE, 60):
        of = architecture(SPACE, genotype)
        assert genotype_of(SPACE, of) == genotype
        # any change of a gene that decides nothing
        for at, count in enumerate(SPACE.cardinalities):
            varied = list(genotype.genes)
            varied[at] = int(rng.integers(count))
            if SPACE.branches(varied) == of:
                assert SPACE.from_vector(varied) == genotype
            else:
                canonical = SPACE.canonical_rows(np.array([varied]))[0].tolist()
                assert tuple(canonical) != genotype.genes


def test_samples_are_networks() -> None:
    for genotype in _sampled(SPACE, 100):
        of = architecture(SPACE, genotype)
        for target, branch in zip(of.targets, of.branches, strict=True):
            assert len(branch) >= fewest_cells(target, 16)
            assert branch[-1].width is None and not branch[-1].is_down and branch[-1].scale == target
        first, second = of.branches
        assert of.shared < min(len(first), len(second))
        assert all(one.layer == other.layer for one, other in zip(first[: of.shared], second, strict=False))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"branches": (32, 8)},
        {"shared": 1},
        {"shared": 2},
        {"shared": 2, "branches": (32, 8)},
    ],
)
def test_size_is_the_number_of_points(arguments: dict[str, Any]) -> None:
    space = fasterseg_space("tiny", 8, operators=("conv",), widths=(4,), **arguments)
    assert space.size() == sum(1 for _ in Space.points(space)) > 0


def test_size_counts_widths_of_cells_that_are_there() -> None:
    # counted by trying all widths of all cells of all networks
    assert fasterseg_space("tiny", 8, operators=("conv",), widths=(4, 8)).size() == 111_360
    assert fasterseg_space("tiny", 8, operators=("conv",), widths=(4, 8), shared=2).size() == 64_064


def test_ends() -> None:
    smallest, largest = (architecture(SPACE, each) for each in (SPACE.smallest(), SPACE.largest()))
    assert [len(branch) for branch in smallest.branches] == [9, 7]
    assert [len(branch) for branch in largest.branches] == [16, 16]
    assert {cell.operator for branch in largest.branches for cell in branch} == {"conv2"}
    assert {cell.operator for branch in smallest.branches for cell in branch} == {"zoom"}
    assert SPACE.largest({"paths": "min", "operator": ["conv"], "width": "min"}) != SPACE.largest()


def test_every_group_has_a_smallest_network() -> None:
    for group in SPACE.members:
        for end in ("min", "max"):
            assert SPACE.contains(SPACE.largest({group: end})) and SPACE.contains(
                SPACE.smallest({group: end})
            )
    fewest = architecture(SPACE, SPACE.largest({"operator": "min"}))
    assert {cell.operator for branch in fewest.branches for cell in branch} == {"zoom"}


def test_saswot_shares_three_cells() -> None:
    space = fasterseg_space("saswot", widths=(4,), shared=3)
    for genotype in [space.smallest(), space.largest(), *_sampled(space, 30)]:
        of = architecture(space, genotype)
        assert of.shared == 3
        assert {cell.width for branch in of.branches for cell in branch[:-1]} == {4}


def test_layouts_that_are_no_networks() -> None:
    point = SPACE.decode(SPACE.smallest())
    rows = {name: SKIP for name in SPACE.spans if name[0] in "efg"}
    with pytest.raises(UserError, match="branch to stride 32 has 2 cells") as caught:
        SPACE.encode({**point, **rows})
    assert "9 at least" in caught.value.hint
    full = dict.fromkeys(rows, "conv")
    with pytest.raises(UserError, match="no cell between layers 9 and 12"):
        SPACE.encode({**point, **full, "a1": "d9-12", "b1": "d12", "f10": SKIP, "f11": SKIP})
    with pytest.raises(UserError, match="share a cell of different layers"):
        SPACE.encode(
            {**point, **full, "a1": "d9-13", "b1": "d11", "e9": SKIP, "e10": SKIP, "q1": "conv", "q3": "conv"}
        )
    # with other operators they halve their maps in cells of their own
    SPACE.encode(
        {**point, **full, "a1": "d9-13", "b1": "d11", "e9": SKIP, "e10": SKIP, "q1": "conv", "q3": "zoom"}
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"layers": 7}, "space.layers must be 8 or more, got 7"),
        ({"branches": (16, 8)}, r"space.branches must be \[32,16\] or \[32,8\]"),
        ({"operators": ("conv", "skip")}, "space.operators must be some of zoom, conv, zoom2, conv2"),
        ({"widths": (0,)}, "space.widths must be twelfths from 1 to 12"),
        ({"widths": ()}, "space.widths must be twelfths"),
        ({"shared": -1}, "space.shared must be from 0"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        fasterseg_space(**arguments)
