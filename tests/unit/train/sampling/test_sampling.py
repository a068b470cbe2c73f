"""Draws: functions of (seed, step) that keep to the costs, levels and openings they promise."""

from typing import Any

import numpy as np
import pytest
import small_supernet

from evonas.errors import UserError
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import cost
from evonas.supernets.cost_table import CostTable
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.train.sampling.attentive import AttentiveSampling
from evonas.train.sampling.bank import Bank
from evonas.train.sampling.base import LossAwareSampler, Sampler, weights_of
from evonas.train.sampling.complexity_aware import ComplexityAwareSampling, LevelRandomWalk
from evonas.train.sampling.cost_levels import LevelPlan, LevelTable
from evonas.train.sampling.loss_predictor import LossPredictor
from evonas.train.sampling.performance_aware import (
    QUALITY_SHARES,
    BankPlan,
    PerformanceAwareSampler,
    PerformanceAwareSampling,
)
from evonas.train.sampling.replay_pool import ReplayPoolSampling, hamming
from evonas.train.sampling.small_to_large import SmallToLargeSampling
from evonas.train.sampling.step import CurriculumStep, StepSampler

SPACE = evonet_space("nano", [0.5, 1, 2, 3], [8, 16, 24, 32], [0.5, 1, 2], [2, 2, 4, 2])
NANO = EvoNet(SPACE, (24, 48, 96, 192), (2, 4, 8, 8), 16, 2.0, 2.0)


@pytest.fixture(scope="module")
def costs() -> CostTable:
    return CostTable(NANO, (64, 96))


def inside(costs: CostTable, **step: Any) -> StepSampler:
    return StepSampler(costs.space, 0, CurriculumStep("a", **{"num_subnets": 4, **step}))


def test_prices_are_those_of_the_closed_form() -> None:
    published = EvoNet(evonet_space(), (64, 128, 256, 512), (2, 4, 8, 16))
    for family, size in ((NANO, (64, 96)), (published, (33, 45))):
        table, rng, space = CostTable(family, size), np.random.default_rng(0), family.space
        drawn = [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(50))]
        counted = [cost(family, genotype, size).macs for genotype in drawn]
        assert table.macs(np.array([genotype.genes for genotype in drawn])).tolist() == counted
        assert table.of(drawn[0]) == counted[0]


@pytest.mark.parametrize("opened", [{}, {"s": [16, 32], "m": [2, 3]}, {"d": "all"}])
def test_a_level_holds_distinct_open_subnets_of_its_cost(costs: CostTable, opened: dict[str, Any]) -> None:
    space = costs.space
    table = LevelTable(costs, opened, LevelPlan(5, 0.15, 64, 2), seed=3)
    assert [level.macs for level in table.levels] == sorted({level.macs for level in table.levels})
    assert len({level.smallest for level in table.levels}) == 2
    for level in table.levels:
        macs = costs.macs(level.rows)
        assert (macs >= level.macs).all() and (macs <= 1.15 * level.macs).all()
        points = [level.genotype(index) for index in range(len(level.rows))]
        assert len(set(points)) == len(points) and all(map(space.contains, points))
        floor = space.decode(level.smallest)
        for point in points:
            values = space.decode(point)
            assert all(values[name] >= floor[name] for name in values if name[0] != "d")
            assert all(sum(values[name]) >= sum(floor[name]) for name in values if name[0] == "d")
            assert all(
                values[name] in opened.get(name[0], [values[name]]) for name in values if name[0] != "d"
            )
            assert opened.get("d") is None or all(all(values[f"d{i}"]) for i in (1, 2, 3, 4))
    again = LevelTable(costs, opened, LevelPlan(5, 0.15, 64, 2), seed=3)
    assert all((a.rows == b.rows).all() for a, b in zip(table.levels, again.levels, strict=True))
    other = LevelTable(costs, opened, LevelPlan(5, 0.15, 64, 2), seed=4)
    assert any(
        a.rows.shape != b.rows.shape or (a.rows != b.rows).any()
        for a, b in zip(table.levels, other.levels, strict=True)
    )


def test_levels_without_gaps_cover_every_cost(costs: CostTable) -> None:
    table = LevelTable(costs, {}, LevelPlan(6, None, 32, 1), seed=0)
    ends = [level.macs * (1 + table.window) for level in table.levels]
    assert table.levels[0].macs == table.low and table.high <= ends[-1] < table.high + 2
    starts = [level.macs for level in table.levels[1:]]
    assert starts == pytest.approx(ends[:-1], rel=1e-6)


def test_of_levels_without_gaps_those_that_hold_nothing_are_left_out(costs: CostTable) -> None:
    narrow = {"s": [32], "m": [3], "e": [2]}
    table = LevelTable(costs, narrow, LevelPlan(200, None, 32, 1), seed=0)
    assert 1 < len(table.levels) < 200 and all(len(level.rows) for level in table.levels)
    genotypes = SmallToLargeSampling(levels=200).sampler(inside(costs, opened=narrow), costs, 10).genotypes(9)
    assert all(costs.space.contains(each) for each in genotypes)


@pytest.mark.parametrize(
    "draw",
    [
        SmallToLargeSampling(),
        ComplexityAwareSampling(),
        PerformanceAwareSampling(),
        AttentiveSampling(),
        ReplayPoolSampling(),
    ],
)
def test_what_is_always_trained_comes_first(costs: CostTable, draw: Any) -> None:
    ends = inside(costs, always=("largest", "smallest"))
    sampler = draw.sampler(ends, costs, 100)
    drawn = [
        sampler.genotypes(step) if isinstance(sampler, Sampler) else sampler.chosen(step, by_cost(costs))
        for step in (0, 1, 7)
    ]
    for genotypes in drawn:
        assert genotypes[:2] == [costs.space.largest(), costs.space.smallest()]
        assert len(genotypes) == 4 or isinstance(draw, ReplayPoolSampling)
        assert not {costs.space.largest(), costs.space.smallest()} & set(genotypes[4:])
    assert drawn[0][2:4] != drawn[1][2:4]


def test_one_open_subnet_is_one_level(costs: CostTable) -> None:
    opened = {"s": [32], "m": [3], "e": [2], "d": "all"}
    table = LevelTable(costs, opened, LevelPlan(8, 0.1, 64, 3), seed=0)
    assert [len(level.rows) for level in table.levels] == [1]
    assert table.levels[0].genotype(0) == costs.space.largest()


@pytest.mark.parametrize(
    "wrong",
    [
        {"levels": 0},
        {"levels": True},
        {"levels": 2.5},
        {"levels": "8"},
        {"levels": []},
        {"levels": [20, "x"]},
        {"window": 0},
        {"levels": [3.0, 2.0]},
        {"levels": [3.0], "window": None},
    ],
)
def test_unusable_plans_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        LevelPlan(**wrong)


def test_a_level_nobody_reaches_is_named(costs: CostTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evonas.train.sampling.cost_levels._ROUNDS", 2)
    with pytest.raises(UserError, match="No subnet has about 900 M") as caught:
        LevelTable(costs, {}, LevelPlan([20.0, 900.0], 0.1, 8, 1), seed=0)
    assert "window" in caught.value.hint


def test_a_walk_takes_steps_of_one_at_most() -> None:
    walk = LevelRandomWalk(8, 0, "walk")
    places = [walk.at(step) for step in range(10_000)]
    moves = np.diff(places)
    assert np.abs(moves).max() == 1 and set(places) == set(range(8))
    # a quarter of all time at both ends together, moves up and down alike
    assert np.mean(np.isin(places, (0, 7))) == pytest.approx(0.25, abs=0.05)
    assert np.mean(moves > 0) == pytest.approx(np.mean(moves < 0), abs=0.02)
    again = LevelRandomWalk(8, 0, "walk")
    assert [again.at(step) for step in (5000, 10, 9999)] == [places[step] for step in (5000, 10, 9999)]
    assert [LevelRandomWalk(8, 1, "walk").at(step) for step in range(50)] != places[:50]


def test_all_subnets_of_a_step_are_of_its_level(costs: CostTable) -> None:
    sampler = ComplexityAwareSampling(levels=6, window=0.1, size=64).level_sampler(inside(costs), costs)
    assert isinstance(sampler, Sampler)
    for step in (0, 1, 500, 9_999):
        *drawn, smallest = sampler.genotypes(step)
        level = sampler.level(step)
        assert smallest == level.smallest
        assert all(level.macs <= costs.of(each) <= 1.1 * level.macs for each in drawn)
    with pytest.raises(UserError, match="leaves no subnet to sample"):
        ComplexityAwareSampling().level_sampler(inside(costs, num_subnets=1), costs)


DRAWS = {
    "walk": ComplexityAwareSampling(levels=4, size=32),
    "growing": SmallToLargeSampling(levels=4, size=32),
    "pool": ReplayPoolSampling(size=3),
    "banks": PerformanceAwareSampling(levels=4, size=32, members=4, rescore_every=2, refresh_every=5),
    "best": AttentiveSampling(size=32, levels=4),
    "predictor": AttentiveSampling("worst", "predictor", size=32, levels=4),
}


def by_cost(costs: CostTable) -> Any:
    return lambda genotypes: [float(costs.of(each)) for each in genotypes]


def run(sampler: Sampler | LossAwareSampler, oracle: Any, steps: range) -> list[list[Genotype]]:
    if isinstance(sampler, LossAwareSampler):
        return [sampler.chosen(step, oracle) for step in steps]
    return [sampler.genotypes(step) for step in steps]


@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_equal_on_all_ranks_and_after_a_resume(costs: CostTable, name: str) -> None:
    def oracle(points: list[Genotype]) -> list[float]:
        return [1.0 / costs.of(point) + 1e-9 * sum(point.genes) for point in points]

    fresh = [DRAWS[name].sampler(inside(costs), costs, 20) for _ in range(3)]
    whole = run(fresh[0], oracle, range(20))
    assert run(fresh[1], oracle, range(12)) == whole[:12]
    resumed = fresh[2]
    if isinstance(resumed, LossAwareSampler):
        resumed.restore(fresh[1].state())
    assert run(resumed, oracle, range(12, 20)) == whole[12:]
    assert all(costs.space.contains(point) for each in whole for point in each)
    assert len({point for each in whole for point in each}) > 10
    elsewhere = StepSampler(costs.space, 1, CurriculumStep("a", num_subnets=4))
    assert run(DRAWS[name].sampler(elsewhere, costs, 20), oracle, range(20)) != whole


def test_growing_raises_its_ceiling(costs: CostTable) -> None:
    sampler = SmallToLargeSampling(levels=4, until=0.5, size=64).sampler(inside(costs), costs, 100)
    levels = [sampler.open_levels(step) for step in range(100)]
    assert levels == sorted(levels) and (levels[0], levels[49], levels[50], levels[-1]) == (1, 3, 4, 4)
    early, late = (
        max(costs.of(point) for step in steps for point in sampler.genotypes(step))
        for steps in (range(10), range(60, 100))
    )
    assert early < 0.6 * late
    with pytest.raises(UserError, match="until must be in"):
        SmallToLargeSampling(until=2)


def test_the_pool_replaces_the_nearest_and_the_oldest_of_equals(costs: CostTable) -> None:
    sampler = ReplayPoolSampling(size=2, share=0.2).sampler(inside(costs, num_subnets=1), costs, 10)
    drawn = [sampler.genotypes(step) for step in range(8)]
    assert [len(each) for each in drawn] == [1, 2, 3, 3, 3, 3, 3, 3]
    pool = [drawn[0][0], drawn[1][0]]
    for each in drawn[2:]:
        assert each[1:] == pool
        distances = [hamming(member, each[0]) for member in pool]
        pool.pop(int(np.argmin(distances)))
        pool.append(each[0])
    assert weights_of(sampler, 1) == [1.0]
    assert weights_of(sampler, 3) == pytest.approx([0.8, 0.1, 0.1])
    assert sampler.genotypes(2) == drawn[2]


def test_the_published_growth_of_q() -> None:
    plan = BankPlan()
    chances = [plan.chance(epoch, 600) for epoch in range(600)]
    assert list(dict.fromkeys(chances)) == [0.2, 0.35, 0.5, 0.65, 0.8, 0.95] == list(QUALITY_SHARES)
    assert [chances.index(each) for each in QUALITY_SHARES] == [0, 100, 200, 300, 400, 500]
    with pytest.raises(UserError, match="must contain probabilities"):
        BankPlan(exploit=(1.2,))


def test_a_bank_keeps_the_best(costs: CostTable) -> None:
    points = [costs.space.sample(np.random.default_rng(seed)) for seed in range(5)]
    bank = Bank(3)
    for point, quality in zip(points, (-3.0, -1.0, -2.0, -5.0, -0.5), strict=True):
        bank.offer(point, quality)
    assert bank.members == [points[1], points[2], points[4]] and bank.best() == points[4]
    bank.rescore([0.0, -9.0, -9.0])
    assert bank.best() == points[1]
    drawn = [bank.draw(np.random.default_rng(seed)) for seed in range(50)]
    assert set(drawn) == {points[1]}
    assert Bank(2).best() is None and not Bank(2).is_half_full


def test_banks_explore_first_and_exploit_what_did_well(costs: CostTable) -> None:
    draw = PerformanceAwareSampling(
        levels=3, size=64, members=4, exploit=[1.0], rescore_every=1000, refresh_every=1000
    )
    sampler = draw.sampler(inside(costs), costs, 100)
    asked: list[Genotype] = []

    def oracle(points: list[Genotype]) -> list[float]:
        asked.extend(points)
        return [float(costs.of(point)) / 1e6 for point in points]

    for step in range(60):
        *drawn, _ = sampler.chosen(step, oracle)
        walk = sampler._walk
        level = walk.level(step)
        assert all(level.macs <= costs.of(each) <= 1.1 * level.macs for each in drawn)
    assert all(len(bank) >= 3 for bank in sampler.banks)
    before = len(asked)
    for step in range(60, 80):
        place = sampler._walk.level_index(step)
        *drawn, _ = sampler.chosen(step, oracle)
        assert set(drawn) <= set(sampler.banks[place].members)
    assert len(asked) == before


def test_wide_and_shallow_is_preferred(costs: CostTable) -> None:
    sampler = PerformanceAwareSampling(levels=3, size=16).sampler(inside(costs), costs, 10)
    assert isinstance(sampler, PerformanceAwareSampler)
    space: Space = costs.space
    small, large = space.decode(space.smallest()), space.decode(space.largest())
    is_depth = {name: name[0] == "d" for name in small}
    wide = space.encode({name: small[name] if is_depth[name] else large[name] for name in small})
    deep = space.encode({name: large[name] if is_depth[name] else small[name] for name in small})
    anchor = space.smallest()
    # the anchor has least width and least depth, so each score is a difference of costs seen before
    assert sampler.preference(wide, anchor) == costs.of(anchor) - costs.of(wide) < 0
    assert sampler.preference(deep, anchor) == costs.of(deep) - costs.of(anchor) > 0


def test_rescoring_asks_for_the_members_at_hand(costs: CostTable) -> None:
    draw = PerformanceAwareSampling(levels=2, size=16, members=2, rescore_every=4, refresh_every=8)
    sampler, calls = draw.sampler(inside(costs), costs, 100), []

    def oracle(points: list[Genotype]) -> list[float]:
        calls.append(list(points))
        return [1.0] * len(points)

    for step in range(9):
        calls.clear()
        members = [bank.members for bank in sampler.banks]
        sampler.chosen(step, oracle)
        expected = []
        if step % 8 == 0:
            expected = [each for each in members if each]
        elif step % 4 == 0:
            expected = [members[sampler._walk.level_index(step)]]
        assert calls[: len(expected)] == [each for each in expected if each]


@pytest.mark.parametrize(("prefer", "pick"), [("best", min), ("worst", max)])
def test_attention_goes_to_the_best_or_worst_of_a_cost(costs: CostTable, prefer: str, pick: Any) -> None:
    where = inside(costs, num_subnets=3, always=("largest", "smallest"))
    sampler = AttentiveSampling(prefer, candidates=4, levels=5, size=64).sampler(where, costs, 10)
    seen: list[list[Genotype]] = []

    def oracle(points: list[Genotype]) -> list[float]:
        seen.append(list(points))
        return [float(hash(point.genes) % 1000) for point in points]

    for step in range(5):
        largest, smallest, chosen = sampler.chosen(step, oracle)
        assert (largest, smallest) == (costs.space.largest(), costs.space.smallest())
        assert len(seen[-1]) == 4
        prices = [costs.of(point) for point in seen[-1]]
        assert max(prices) / min(prices) < (costs.of(largest) / costs.of(smallest)) ** (1 / 5) + 1e-6
        losses = {point: hash(point.genes) % 1000 for point in seen[-1]}
        assert losses[chosen] == pick(losses.values())
    assert sampler.prior.sum() == pytest.approx(1) and (sampler.prior > 0).all()
    with pytest.raises(UserError, match="prefer=median"):
        AttentiveSampling("median")


def test_a_predictor_learns_which_genes_cost_loss(costs: CostTable) -> None:
    space, predictor = costs.space, LossPredictor(costs.space)
    rng = np.random.default_rng(0)
    for step in range(150):
        points = [space.sample(rng) for _ in range(3)]
        # every step has images of its own, which scale its losses
        scale = 1 + step % 7
        predictor.learn(points, [scale * np.exp(-0.3 * sum(point.genes[:10])) for point in points])
    points = [space.sample(rng) for _ in range(60)]
    truth = [-0.3 * sum(point.genes[:10]) for point in points]
    assert np.corrcoef(truth, predictor.predict(points))[0, 1] > 0.95
    again = LossPredictor(space)
    again.fill(predictor.plain())
    assert again.predict(points) == predictor.predict(points)


@pytest.mark.parametrize("name", small_supernet.NAMES)
def test_every_file_is_a_curriculum(costs: CostTable, name: str) -> None:
    # its openings are those of the whole space
    made = small_supernet.curriculum(name, evonet_space() if name == "ofa" else costs.space)
    ceiling = made.within(1)
    assert (ceiling.strategy, ceiling.inplace_distillation, ceiling.merge) == (
        made.strategy,
        made.inplace_distillation,
        made.merge,
    )
    assert made.strategy or made.inplace_distillation
