"""Draws over spaces of any family: ordinal depths, and layouts that are no networks."""

from typing import Any, cast

import numpy as np
import pytest

from evonas.space.chain import chain_space
from evonas.space.genotype import Genotype
from evonas.space.space import Axis, Space
from evonas.supernets.cost_table import CostTable
from evonas.train.curriculum import Curriculum
from evonas.train.sampling.attentive import AttentiveSampling
from evonas.train.sampling.base import Sampler
from evonas.train.sampling.complexity_aware import ComplexityAwareSampling
from evonas.train.sampling.cost_levels import LevelPlan, LevelTable
from evonas.train.sampling.performance_aware import PerformanceAwareSampler, PerformanceAwareSampling
from evonas.train.sampling.small_to_large import SmallToLargeSampling
from evonas.train.sampling.step import CurriculumStep, StepSampler

BLOCKS = Space(
    "blocks",
    (
        Axis("r1", (0.5, 0.75, 1)),
        Axis("d1", (1, 2, 3, 4)),
        *(Axis(f"k{block}", (3, 5, 7), f"d1>={block}") for block in range(1, 5)),
    ),
    groups={"resolution": "r", "depth": "d", "kernel": "k"},
)
CHAIN = chain_space(
    "chain",
    {
        f"m{at}": ["keep", "half", "both"] if at < 3 else ["none", "keep", "half", "both"]
        for at in range(1, 6)
    },
    "none",
    {"halvings": {"words": ["half", "both"], "least": 1, "most": 3}},
)


class Summed:
    """A price for every integer; where nothing is expressed it costs nothing, and only there."""

    def __init__(self, space: Space) -> None:
        self.space = space

    def macs(self, rows: np.ndarray) -> np.ndarray:
        assert np.array_equal(self.space.canonical_rows(rows), rows)
        weights = 3 + np.arange(rows.shape[1])
        return np.asarray(1000 + 100 * (np.asarray(rows, dtype=np.int64) @ weights))

    def of(self, genotype: Genotype) -> int:
        return int(self.macs(np.array([genotype.genes]))[0])


def costs(space: Space) -> CostTable:
    return cast(CostTable, Summed(space))


@pytest.mark.parametrize("space", [BLOCKS, CHAIN], ids=lambda space: space.name)
def test_levels_hold_distinct_networks(space: Space) -> None:
    table = LevelTable(costs(space), {}, LevelPlan(4, None, 64, 2), seed=0)
    found = [level.genotype(index) for level in table.levels for index in range(len(level.rows))]
    assert len(found) == len(set(found)) > 40
    assert all(space.contains(each) for each in found)
    assert all(space.contains(level.smallest) for level in table.levels)


def test_floors_are_below_in_depth_and_in_what_both_express() -> None:
    table = LevelTable(costs(BLOCKS), {}, LevelPlan(6, None, 64, 3), seed=0)
    assert BLOCKS.decode(table.levels[-1].smallest)["d1"] > BLOCKS.decode(table.levels[0].smallest)["d1"]
    for level in table.levels:
        floor = np.array(level.smallest.genes)
        shared = BLOCKS.expressed_rows(level.rows) & BLOCKS.expressed_rows(floor[None])
        assert ((level.rows >= floor) | ~shared).all()


def test_levels_keep_within_groups_that_are_opened() -> None:
    table = LevelTable(costs(BLOCKS), {"kernel": [5, 7], "depth": "max"}, LevelPlan(3, None, 64, 1), seed=0)
    for level in table.levels:
        assert (level.rows[:, 1] == 3).all() and (level.rows[:, 2:] > 0).all()


@pytest.mark.parametrize("space", [BLOCKS, CHAIN], ids=lambda space: space.name)
@pytest.mark.parametrize(
    "draw",
    [
        SmallToLargeSampling(4),
        ComplexityAwareSampling(3, 0.5),
        PerformanceAwareSampling(3, 0.5, members=4),
        AttentiveSampling(levels=4),
    ],
)
def test_every_draw_gives_networks(space: Space, draw: Any) -> None:
    step = CurriculumStep("all", num_subnets=4, always=("largest",))
    sampler = draw.sampler(StepSampler(space, 0, step), costs(space), 20)

    def oracle(points: list[Genotype]) -> list[float]:
        return [float(sum(point.genes)) for point in points]

    for at in range(20):
        drawn = sampler.genotypes(at) if isinstance(sampler, Sampler) else sampler.chosen(at, oracle)
        assert len(drawn) == 4 and drawn[0] == space.largest()
        assert all(space.contains(each) for each in drawn)


def test_a_depth_axis_is_depth_to_the_preference_of_banks() -> None:
    inside = StepSampler(BLOCKS, 0, CurriculumStep("all", num_subnets=4))
    sampler = PerformanceAwareSampling(3, 0.5).sampler(inside, costs(BLOCKS), 20)
    assert isinstance(sampler, PerformanceAwareSampler)
    anchor = BLOCKS.from_vector([1, 1, 1, 1, 0, 0])
    wide, deep = BLOCKS.from_vector([2, 1, 2, 2, 0, 0]), BLOCKS.from_vector([1, 3, 1, 1, 0, 0])
    assert sampler.preference(wide, anchor) < 0 < sampler.preference(deep, anchor)


def test_one_curriculum_opens_families_by_their_words() -> None:
    steps = [
        {"name": "largest", "opened": {"kernel": "max", "depth": "max", "resolution": "max"}},
        {"name": "kernel", "opened": {"kernel": [5, 7], "depth": "max"}},
        {"name": "all"},
    ]
    curriculum = Curriculum(BLOCKS, 0, steps)
    assert curriculum.sampler(curriculum.steps[0]).genotypes(3) == [BLOCKS.largest()]
    drawn = [curriculum.sampler(curriculum.steps[1]).genotypes(step)[0] for step in range(30)]
    assert {BLOCKS.decode(each)["d1"] for each in drawn} == {4}
    assert {BLOCKS.decode(each)["k3"] for each in drawn} == {5, 7}
    plain = curriculum.steps[1].plain()
    assert plain["opened"] == {"kernel": [5, 7], "depth": "max"}
