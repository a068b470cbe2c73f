"""What holds for every space that can be declared."""

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from evonas.errors import UserError
from evonas.search.operators import (
    bit_flip_mutation,
    polynomial_mutation,
    two_point_crossover,
    uniform_crossover,
)
from evonas.space.chain import ChainSpace, chain_space
from evonas.space.space import Axis, Bits, Space

SMALL = settings(max_examples=40, deadline=None)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Small spaces with free and conditional axes, depths among them, and groups."""
    rows = [
        Bits(f"b{index}", length, draw(st.integers(0, length)))
        for index, length in enumerate(draw(st.lists(st.integers(1, 3), max_size=2)), start=1)
    ]
    targets = [None, *(row.name for row in rows)]
    targets += [f"{row.name}.{bit}" for row in rows for bit in range(1, row.length + 1)]
    made: list[Axis] = []
    for index, count in enumerate(draw(st.lists(st.integers(1, 3), max_size=2)), start=1):
        # a depth may itself be expressed by an earlier one
        made.append(Axis(f"d{index}", tuple(range(1, count + 1)), draw(st.sampled_from(targets))))
        targets += [f"d{index}>={choice}" for choice in range(1, count + 1)]
    made += [
        Axis(f"k{index}", tuple(0.5 * step for step in range(1, count + 1)), draw(st.sampled_from(targets)))
        for index, count in enumerate(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)), start=1)
    ]
    depth = [gene.name for gene in (*made, *rows) if gene.name[0] in "bd"]
    groups = {"kernel": "k", **({"depth": depth} if depth else {})}
    return Space("any", tuple(draw(st.permutations([*made, *rows]))), groups=groups)


@st.composite
def chains(draw: st.DrawFn) -> ChainSpace:
    """Small spaces with layouts that are no networks."""
    modules = ["keep", "wide", "half", "both"]
    required = draw(st.integers(1, 2))
    axes = {
        f"m{place}": modules if place < required else ["none", *modules]
        for place in range(required + draw(st.integers(0, 2)))
    }
    least = draw(st.integers(0, 1))
    words = draw(st.sampled_from([["half"], ["half", "both"]]))
    limit = {"words": words, "least": least, "most": draw(st.integers(least, 2))}
    return chain_space("chain", axes, "none", {"halvings": limit})


ANY = st.one_of(spaces(), chains())


@SMALL
@given(ANY)
def test_size_is_the_number_of_points(space: Space) -> None:
    points = list(space.points())
    assert len(points) == len(set(points)) == space.size()
    assert all(space.contains(point) for point in points)


@SMALL
@given(ANY, st.integers(0, 2**32))
def test_every_form_of_a_point_leads_back(space: Space, seed: int) -> None:
    point = space.sample(np.random.default_rng(seed))
    assert space.contains(point)
    assert space.canonical(point) == point
    assert space.encode(space.decode(point)) == point
    assert space.parse(space.format(point)) == point
    assert space.from_vector(space.to_vector(point)) == point


@SMALL
@given(ANY, st.integers(0, 2**32))
def test_repair_is_idempotent_and_canonical(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vector = [int(rng.integers(count)) for count in space.cardinalities]
    repaired = space.repair(vector, rng)
    assert space.contains(repaired)
    assert space.repair(repaired.genes, rng) == repaired


@SMALL
@given(ANY, st.integers(0, 2**32))
def test_neighbours_are_mutual_where_nothing_is_conditional(space: Space, seed: int) -> None:
    point = space.sample(np.random.default_rng(seed))
    near = space.neighbours(point)
    assert point not in near and len(set(near)) == len(near)
    assert all(space.contains(each) for each in near)
    if space.is_complete and all(axis.expressed_by is None for axis in space.axes):
        assert all(point in space.neighbours(each) for each in near)


@SMALL
@given(ANY, st.integers(0, 2**32))
def test_canonical_rows_are_the_canonical_points(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(space.cardinalities, size=(40, len(space.cardinalities))).astype(np.int8)
    canonical = space.canonical_rows(rows)
    assert canonical.dtype == rows.dtype
    assert np.array_equal(space.canonical_rows(canonical), canonical)
    expressed = space.expressed_rows(rows)
    assert not (canonical[~expressed]).any()
    for row, same in zip(rows.tolist(), canonical.tolist(), strict=True):
        try:
            point = space.from_vector(row)
        except UserError:
            continue
        assert list(point.genes) == same and space.contains(point)


@SMALL
@given(spaces())
def test_points_are_all_canonical_forms(space: Space) -> None:
    layouts = np.array(list(product(*(range(count) for count in space.cardinalities))))
    starts = [(space.spans[bits.name], bits.minimum) for bits in space.bits]
    valid = [row for row in layouts if all(row[span].sum() >= least for span, least in starts)]
    forms = {tuple(row) for row in space.canonical_rows(np.array(valid)).tolist()}
    assert [point.genes for point in space.points()] == sorted(forms)


@SMALL
@given(spaces(), st.sampled_from(["max", "min", "free"]), st.integers(0, 2**32))
def test_groups_open_as_their_names_do(space: Space, setting: str, seed: int) -> None:
    for word, names in space.groups:
        by_group, by_name = {word: setting}, dict.fromkeys(names, setting)
        drawn = [space.sample(np.random.default_rng(seed), opened) for opened in (by_group, by_name)]
        assert drawn[0] == drawn[1]
        assert space.largest(by_group) == space.largest(by_name)


@SMALL
@given(spaces())
def test_extremes_bound_every_expressed_gene(space: Space) -> None:
    largest = space.largest()
    assert largest.genes == space.upper
    assert sum(space.smallest().genes) <= min(sum(point.genes) for point in space.points())


@SMALL
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**32))
def test_crossover_only_rearranges(pairs: int, length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(5, size=(2, pairs, length))
    for children in (two_point_crossover(first, second, rng), uniform_crossover(first, second, 0.5, rng)):
        assert np.array_equal(np.sort(children, axis=0), np.sort(np.stack([first, second]), axis=0))


@SMALL
@given(st.integers(1, 6), st.integers(1, 9), st.floats(0, 20), st.integers(0, 2**32))
def test_mutation_stays_in_bounds(rows: int, length: int, eta: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    upper = rng.integers(6, size=length)
    genes = rng.integers(upper + 1, size=(rows, length))
    mutated = polynomial_mutation(genes, upper, 1.0, eta, rng)
    assert mutated.dtype == genes.dtype and (mutated >= 0).all() and (mutated <= upper).all()
    assert np.array_equal(polynomial_mutation(genes, upper, 0.0, eta, rng), genes)
    bits = genes % 2
    assert np.array_equal(bit_flip_mutation(bits, 1.0, rng), 1 - bits)


def test_mutation_reaches_every_choice_and_spreads_less_with_eta() -> None:
    rng = np.random.default_rng(0)
    genes, upper = np.full((4000, 1), 2), np.array([5])
    wide, narrow = (polynomial_mutation(genes, upper, 1.0, eta, rng) for eta in (1.0, 20.0))
    assert set(wide.ravel().tolist()) == set(range(6))
    assert (narrow != 2).mean() < 0.5 * (wide != 2).mean()
