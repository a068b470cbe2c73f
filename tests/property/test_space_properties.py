"""What holds for every space that can be declared."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from evonas.search.operators import cross_two_point, cross_uniform, flip_bits, mutate_ordinals
from evonas.space.space import Axis, Bits, Space

SMALL = settings(max_examples=40, deadline=None)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Small spaces with free and conditional axes."""
    rows = [
        Bits(f"d{index}", length, draw(st.integers(0, length)))
        for index, length in enumerate(draw(st.lists(st.integers(1, 3), max_size=2)), start=1)
    ]
    targets = [None, *(row.name for row in rows)]
    targets += [f"{row.name}.{bit}" for row in rows for bit in range(1, row.length + 1)]
    axes = [
        Axis(f"k{index}", tuple(0.5 * step for step in range(1, count + 1)), draw(st.sampled_from(targets)))
        for index, count in enumerate(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)), start=1)
    ]
    return Space("any", tuple(draw(st.permutations([*axes, *rows]))))


@SMALL
@given(spaces())
def test_size_is_the_number_of_points(space: Space) -> None:
    points = list(space.points())
    assert len(points) == len(set(points)) == space.size()
    assert all(space.contains(point) for point in points)


@SMALL
@given(spaces(), st.integers(0, 2**32))
def test_every_form_of_a_point_leads_back(space: Space, seed: int) -> None:
    point = space.sample(np.random.default_rng(seed))
    assert space.contains(point)
    assert space.canonical(point) == point
    assert space.encode(space.decode(point)) == point
    assert space.parse(space.format(point)) == point
    assert space.from_vector(space.to_vector(point)) == point


@SMALL
@given(spaces(), st.integers(0, 2**32))
def test_repair_is_idempotent_and_canonical(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vector = [int(rng.integers(count)) for count in space.cardinalities]
    repaired = space.repair(vector, rng)
    assert space.contains(repaired)
    assert space.repair(repaired.genes, rng) == repaired


@SMALL
@given(spaces(), st.integers(0, 2**32))
def test_neighbours_are_mutual_where_nothing_is_conditional(space: Space, seed: int) -> None:
    point = space.sample(np.random.default_rng(seed))
    near = space.neighbours(point)
    assert point not in near and len(set(near)) == len(near)
    assert all(space.contains(each) for each in near)
    if all(axis.expressed_by is None for axis in space.axes):
        assert all(point in space.neighbours(each) for each in near)


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
    for children in (cross_two_point(first, second, rng), cross_uniform(first, second, 0.5, rng)):
        assert np.array_equal(np.sort(children, axis=0), np.sort(np.stack([first, second]), axis=0))


@SMALL
@given(st.integers(1, 6), st.integers(1, 9), st.floats(0, 20), st.integers(0, 2**32))
def test_mutation_stays_in_bounds(rows: int, length: int, eta: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    upper = rng.integers(6, size=length)
    genes = rng.integers(upper + 1, size=(rows, length))
    mutated = mutate_ordinals(genes, upper, 1.0, eta, rng)
    assert mutated.dtype == genes.dtype and (mutated >= 0).all() and (mutated <= upper).all()
    assert np.array_equal(mutate_ordinals(genes, upper, 0.0, eta, rng), genes)
    bits = genes % 2
    assert np.array_equal(flip_bits(bits, 1.0, rng), 1 - bits)


def test_mutation_reaches_every_choice_and_spreads_less_with_eta() -> None:
    rng = np.random.default_rng(0)
    genes, upper = np.full((4000, 1), 2), np.array([5])
    wide, narrow = (mutate_ordinals(genes, upper, 1.0, eta, rng) for eta in (1.0, 20.0))
    assert set(wide.ravel().tolist()) == set(range(6))
    assert (narrow != 2).mean() < 0.5 * (wide != 2).mean()
