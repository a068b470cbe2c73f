"""Spaces: names, text, bounds and openings, with the messages a user would meet."""

import numpy as np
import pytest

from evonas.errors import UserError
from evonas.space.declared import declared_space
from evonas.space.genotype import Genotype
from evonas.space.space import Axis, Bits, Space

TOY = Space(
    "toy",
    (Axis("k1", (3, 5, 7)), Axis("k2", (3, 5, 7), "d1.2"), Axis("r1", (0.5, 1.0), "d1"), Bits("d1", 3, 0)),
)


def test_size_counts_canonical_points() -> None:
    assert TOY.size() == len(set(TOY.points())) == 3 * (1 + 2 * (3 + 4 * 3))


def test_genes_of_absent_blocks_are_neutral() -> None:
    point = TOY.from_vector([2, 2, 1, 1, 0, 1])
    assert point.genes == (2, 0, 1, 1, 0, 1)
    assert TOY.from_vector([2, 2, 1, 0, 0, 0]).genes == (2, 0, 0, 0, 0, 0)
    assert TOY.canonical(Genotype("toy", (0, 2, 1, 0, 0, 1))) == TOY.from_vector([0, 0, 1, 0, 0, 1])
    assert not TOY.contains(Genotype("toy", (0, 2, 1, 0, 0, 1)))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("toy:k=3,4/r=0.5/d=110", ["k2=4", "3, 5, 7"]),
        ("toy:k=3,x/r=0.5/d=110", ["k2=x", "3, 5, 7"]),
        ("toy:k=3,nan/r=0.5/d=110", ["k2=nan", "3, 5, 7"]),
        ("toy:k=3/r=0.5/d=110", ["k=3 has 1 values", "k1, k2"]),
        ("toy:k=3,5/r=0.5/d=120", ["d1=120", "3 digits 0 or 1"]),
        ("toy:k=3,5/r=0.5/d=11", ["d1=11", "3 digits"]),
        ("toy:k=3,5/d=110/r=0.5", ["k, d, r", "k, r, d"]),
        ("toy:k=3,5/k=3,5/d=110", ["k=3,5", "twice"]),
        ("other:k=3,5/r=0.5/d=110", ["other", "toy:k=.../r=.../d=..."]),
        ("", ["is not a point of space toy"]),
    ],
)
def test_parse_names_what_is_wrong(line: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        TOY.parse(line)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        ([0] * 5, ["5 integers", "Give 6"]),
        ([3, 0, 0, 1, 1, 1], ["k1 is 3", "0 to 2"]),
        ([0, 0, 0, 1, -1, 1], ["d1.2 is -1", "0 to 1"]),
        ([0.5, 0, 0, 1, 1, 1], ["not an integer"]),
    ],
)
def test_vectors_name_the_gene_and_its_bounds(vector: list[float], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        TOY.from_vector(np.array(vector))
    for word in words:
        assert word in str(caught.value)


def test_encode_refuses_missing_and_unknown_genes() -> None:
    values = TOY.decode(TOY.largest())
    with pytest.raises(UserError, match="k2"):
        TOY.encode({name: value for name, value in values.items() if name != "k2"})
    with pytest.raises(UserError, match="z9"):
        TOY.encode({**values, "z9": 1})
    with pytest.raises(UserError, match="d1="):
        TOY.encode({**values, "d1": (1, 2, 0)})


def test_encode_finds_floats_that_were_computed() -> None:
    space = declared_space("w", {"w1": [0.1, 0.2, 0.3]})
    assert space.encode({"w1": 0.1 + 0.2}).genes == (2,)
    assert space.encode({"w1": np.float64(0.2)}).genes == (1,)


def test_a_genotype_of_another_space_is_refused() -> None:
    with pytest.raises(UserError, match="other"):
        TOY.format(Genotype("other", TOY.largest().genes))


def test_openings_narrow_samples() -> None:
    rng = np.random.default_rng(0)
    drawn = [TOY.decode(TOY.sample(rng, {"k": [5, 7], "k1": [7], "d": "all"})) for _ in range(50)]
    assert {each["k1"] for each in drawn} == {7}
    assert {each["k2"] for each in drawn} == {5, 7}
    assert {each["r1"] for each in drawn} == {0.5, 1.0}
    assert {each["d1"] for each in drawn} == {(True, True, True)}
    assert TOY.decode(TOY.smallest({"k": [5, 7], "d": "all"}))["k1"] == 5
    assert TOY.decode(TOY.largest({"k": [3, 5]}))["k2"] == 5


@pytest.mark.parametrize(
    "opened", [{"q": [1]}, {"k": [4]}, {"k": []}, {"k": "fre"}, {"d": "al"}, {"d": [1]}, {"k": 3}]
)
def test_openings_with_mistakes_are_refused(opened: dict) -> None:
    with pytest.raises(UserError):
        TOY.sample(np.random.default_rng(0), opened)


def test_repair_adds_no_more_than_needed_and_reaches_every_bit() -> None:
    space = declared_space("r", bits={"d1": {"length": 4, "minimum": 2}})
    rng = np.random.default_rng(0)
    repaired = [space.repair([0, 1, 0, 0], rng).genes for _ in range(100)]
    assert all(sum(genes) == 2 and genes[1] for genes in repaired)
    assert len(set(repaired)) == 3
    with pytest.raises(UserError, match=r"d1\.1 is 2"):
        space.repair([2, 0, 0, 0], rng)


def test_neighbours_are_one_step_away() -> None:
    space = declared_space("n", {"k1": [3, 5, 7]}, {"d1": 2})
    found = {point.genes for point in space.neighbours(space.from_vector([1, 1, 0]))}
    assert found == {(0, 1, 0), (2, 1, 0), (1, 1, 1)}


def test_spaces_can_be_declared_as_data() -> None:
    space = declared_space(
        "mine",
        {"k1": [3, 5], "act1": {"choices": ["relu", "gelu"], "expressed_by": "d1.1"}},
        {"d1": {"length": 2, "minimum": 0}},
    )
    assert space.size() == 2 * (2 + 2 * 2) == len(list(space.points()))
    point = space.encode({"k1": 5, "act1": "gelu", "d1": (1, 0)})
    assert space.format(point) == "mine:k=5/act=gelu/d=10"
    assert space.parse(space.format(point)) == point


@pytest.mark.parametrize(
    ("axes", "bits"),
    [
        ({}, {}),
        ({"k1": []}, {}),
        ({"k1": [5, 3]}, {}),
        ({"k1": [3, 3.0]}, {}),
        ({"k1": [3, "three"]}, {}),
        ({"k1": [True, False]}, {}),
        ({"k1": [float("nan")]}, {}),
        ({"k1": ["a/b"]}, {}),
        ({"K 1": [3]}, {}),
        ({"k1": 3}, {}),
        ({"k1": {"choices": [3], "expresed_by": "d1"}}, {"d1": 2}),
        ({"k1": {"choices": [3], "expressed_by": "d1.3"}}, {"d1": 2}),
        ({"k1": {"choices": [3], "expressed_by": "d2"}}, {"d1": 2}),
        ({"d1": [3]}, {"d2": 2}),
        ({}, {"d1": 0}),
        ({}, {"d1": {"length": 2, "minimum": 3}}),
    ],
)
def test_declarations_with_mistakes_are_refused(axes: dict, bits: dict) -> None:
    with pytest.raises(UserError):
        declared_space("mine", axes, bits)
