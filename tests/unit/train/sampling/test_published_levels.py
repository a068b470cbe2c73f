"""ElasticViT's sampling as published: levels, least networks, the walk, banks and the preference, on its supernet."""

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evonas.errors import DataError, UserError
from evonas.space.genotype import Genotype
from evonas.supernets.base import published_macs
from evonas.supernets.cost_table import CostTable
from evonas.supernets.elasticvit.family import ElasticViT
from evonas.supernets.elasticvit.formats import write_network
from evonas.supernets.elasticvit.space import vit_space
from evonas.supernets.mbconv.family import MBConv
from evonas.supernets.mbconv.space import mbconv_space
from evonas.train.sampling.cost_levels import LevelPlan, LevelTable
from evonas.train.sampling.level_tables import read_tables
from evonas.train.sampling.performance_aware import PerformanceAwareSampler, PerformanceAwareSampling
from evonas.train.sampling.step import CurriculumStep, StepSampler

FAMILY = ElasticViT(vit_space())
SPACE, SIZE = FAMILY.space, (224, 224)
LEAST = {200: "min200", 400: "min400", 800: "min800"}
# of a whole table these levels are quickly sampled
PLAN: dict[str, Any] = {"levels": [200, 400, 900], "span": 20, "least": LEAST, "spread": False, "size": 40}
MEMBERS = [6, 6, 4]


@pytest.fixture(scope="module")
def costs() -> CostTable:
    return CostTable(FAMILY, SIZE, for_levels=True)


@pytest.fixture(scope="module")
def table(costs: CostTable) -> LevelTable:
    return LevelTable(costs, {}, LevelPlan(**PLAN), seed=0)


def _sampler(costs: CostTable, folder: Path, **settings: Any) -> PerformanceAwareSampler:
    """A sampler on tables from files, which are read at once."""
    preference = {"widths": ["w4", "w5", "w6", "w7"], "depths": ["d4", "d5", "d6", "d7"]}
    settings = {**PLAN, "members": MEMBERS, "start": 0, "tables": str(folder), **preference, **settings}
    strategy = PerformanceAwareSampling(**settings)
    step = CurriculumStep("walk", {}, num_subnets=4)
    made = strategy.sampler(StepSampler(SPACE, 0, step), costs, 600)
    assert isinstance(made, PerformanceAwareSampler)
    return made


@pytest.fixture
def folder(table: LevelTable, tmp_path: Path) -> Path:
    """The published form of a table."""
    for level in table.levels:
        networks = [write_network(SPACE, level.genotype(index)) for index in range(len(level.rows))]
        (tmp_path / f"flops_{level.macs // 10**6}.json").write_text(json.dumps(networks), encoding="utf-8")
    return tmp_path


def _published(genotype: Genotype) -> float:
    found = published_macs(FAMILY, genotype, SIZE)
    assert found is not None
    return found / 1e6


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (100, "min200"), (200, "min200"), (220, "min200"), (221, "min400"), (300, "min400"), (400, "min400"),
        (500, "min800"), (700, "min800"), (900, "min800"), (1200, "min800"),
    ],
)  # fmt: skip
def test_the_least_network_of_a_level_is_the_first_that_reaches_it(level: float, name: str) -> None:
    assert LevelPlan([100], span=20, least=LEAST).smallest_of(level) == name


def test_levels_are_those_of_the_published_counter(table: LevelTable) -> None:
    names = {name: FAMILY.published[name].genotype for name in ("min200", "min400", "min800")}
    assert [SPACE.format(level.smallest) for level in table.levels] == list(names.values())
    for level, lower_end in zip(table.levels, (200, 400, 900), strict=True):
        points = [level.genotype(index) for index in range(len(level.rows))]
        assert len(set(points)) == 40
        assert all(lower_end <= _published(point) <= lower_end + 20 for point in points)
        least = level.smallest.genes
        assert all(own >= low for point in points for own, low in zip(point.genes, least, strict=True))
        assert all(SPACE.contains(point) for point in points)
    assert table.plain()["span"] == 20e6


def test_networks_of_a_level_are_uniform() -> None:
    """Against draws and rejection of a small space, network by network."""
    one, two = (1,), (1, 2)
    widths = ((8, 16), (8, 16), (8, 16, 24), (16, 32), (32, 48), (48,), (48,))
    family = ElasticViT(
        vit_space("few", widths, (one, two, one, one, one, one, one), (3,), (2,), (1,), (1,), (64,))
    )
    few = CostTable(family, (64, 64), for_levels=True)
    macs = sorted(published_macs(family, point, (64, 64)) or 0 for point in family.space.points())
    plan = LevelPlan([macs[0] / 1e6], span=(macs[-1] - macs[0]) / 1e6 + 1, size=10**6, spread=False)
    [level] = LevelTable(few, {}, plan, seed=0).levels
    assert len(level.rows) == len(macs) == family.space.size()
    table = LevelTable(few, {}, plan, seed=0)
    rows = table._networks(table._drawn(family.space.smallest(), np.random.default_rng(0)))
    _, counts = np.unique(rows, axis=0, return_counts=True)
    assert len(counts) == len(macs)
    assert counts.max() < 1.4 * counts.mean() and counts.min() > 0.6 * counts.mean()


def test_the_walk_starts_at_the_first_level_and_moves_by_one(costs: CostTable, folder: Path) -> None:
    sampler = _sampler(costs, folder)
    places = [sampler._walk.level_index(step) for step in range(300)]
    assert places[0] == 0 and set(places) == {0, 1, 2}
    assert all(abs(one - other) <= 1 for one, other in itertools.pairwise(places))


def test_a_step_trains_networks_of_one_level_and_its_least_one_last(costs: CostTable, folder: Path) -> None:
    sampler = _sampler(costs, folder)
    for step in range(30):
        level = sampler._walk.level(step)
        *drawn, last = sampler.chosen(step, lambda some: [1.0] * len(some))
        assert len(drawn) == 3 and last == level.smallest
        assert all(level.macs <= costs.of(each) <= level.macs + 20e6 for each in drawn)


def test_the_preference_compares_attention_stages_alone(costs: CostTable, folder: Path) -> None:
    sampler, rng = _sampler(costs, folder), np.random.default_rng(1)
    anchor = SPACE.parse(FAMILY.published["M"].genotype)
    other = SPACE.decode(anchor)
    for _ in range(20):
        genotype = SPACE.sample(rng)
        own = SPACE.decode(genotype)
        narrow, shallow = (
            SPACE.encode({**own, **{f"{letter}{stage}": other[f"{letter}{stage}"] for stage in range(4, 8)}})
            for letter in "wd"
        )
        wanted = _published(narrow) - _published(shallow)
        assert sampler.preference(genotype, anchor) / 1e6 == pytest.approx(wanted, abs=1e-6)


def test_wide_networks_are_preferred_once_banks_are_half_full(costs: CostTable, folder: Path) -> None:
    sampler = _sampler(costs, folder, exploit=[0.0])
    level = sampler._walk.table.levels[0]
    rng = np.random.default_rng(0)
    uniform = [sampler._pick(0, 0, rng)[0] for _ in range(60)]
    for index in range(4):
        sampler.banks[0].offer(level.genotype(index), -1.0)
    assert sampler.banks[0].is_half_full
    preferred = [sampler._pick(0, 0, rng)[0] for _ in range(60)]
    scores = [[sampler.preference(each, level.smallest) for each in some] for some in (uniform, preferred)]
    assert np.mean(scores[1]) < np.mean(scores[0]) - np.std(scores[0]) / 2


def test_banks_have_the_capacity_of_their_level(costs: CostTable, folder: Path) -> None:
    sampler = _sampler(costs, folder)
    losses: Callable[[Sequence[Genotype]], list[float]] = lambda some: [  # noqa: E731
        float(sum(each.genes)) for each in some
    ]
    for step in range(200):
        sampler.chosen(step, losses)
    assert [len(bank) for bank in sampler.banks] == MEMBERS
    again = _sampler(costs, folder)
    again.restore(json.loads(json.dumps(sampler.state())))
    assert again.chosen(200, losses) == sampler.chosen(200, losses)
    with pytest.raises(UserError, match="members has 2 numbers for 3 levels"):
        _sampler(costs, folder, members=[4, 4])
    with pytest.raises(UserError, match="'x1' is no gene"):
        _sampler(costs, folder, widths=["x1"])


def test_published_tables_are_read_as_they_were_written(table: LevelTable, folder: Path) -> None:
    found = read_tables(folder, FAMILY)
    assert found.keys() == {level.macs for level in table.levels}
    assert all((found[level.macs] == level.rows).all() for level in table.levels)
    # networks outside of a level are left out, and levels without a file are sampled
    (folder / "flops_400.json").unlink()
    network = write_network(SPACE, SPACE.largest())
    content = json.loads((folder / "flops_200.json").read_text(encoding="utf-8"))
    (folder / "flops_200.json").write_text(json.dumps([*content, network]), encoding="utf-8")
    plan = LevelPlan(**{**PLAN, "tables": str(folder), "size": 8})
    made = LevelTable(table.costs, {}, plan, seed=0).levels
    assert [len(level.rows) for level in made] == [40, 8, 40]


def test_own_tables_are_read_as_they_were_written(table: LevelTable, tmp_path: Path) -> None:
    file = tmp_path / "levels.json"
    content = {"space": SPACE.name, **table.plain()}
    file.write_text(json.dumps(content), encoding="utf-8")
    found = read_tables(file, FAMILY)
    assert all((found[level.macs] == level.rows).all() for level in table.levels)
    for wrong, said in (
        ({**content, "space": "other"}, "networks of space other"),
        ({"space": SPACE.name}, "not a table of levels"),
        ([], "not a table of levels"),
        ({**content, "levels": [{"macs": 1, "rows": [[0] * 27]}]}, "not a network of space"),
        ({**content, "levels": [{"macs": 1, "rows": [[99] * 28]}]}, "not a network of space"),
        ({**content, "levels": [{"macs": 1, "rows": [[0, 1] + [0] * 26]}]}, "not a network of space"),
        ({**content, "levels": [{"macs": 1, "rows": [["x"]]}]}, "not a network"),
    ):
        file.write_text(json.dumps(wrong), encoding="utf-8")
        with pytest.raises(DataError, match=said):
            read_tables(file, FAMILY)


@pytest.mark.parametrize("name", ["flops_100.pkl", "flops_1200.pickle"])
def test_pickles_are_refused_with_the_command_that_converts_them(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(DataError, match="is a pickle") as caught:
            read_tables(path, FAMILY)
        assert "json.dump(pickle.load(" in caught.value.hint
    assert not (tmp_path / "pwned").exists()


def test_tables_that_do_not_fit_are_refused(folder: Path, costs: CostTable, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no table"):
        read_tables(tmp_path / "none", FAMILY)
    (folder / "flops_200.json").write_text(json.dumps([[128]]), encoding="utf-8")
    with pytest.raises(DataError, match=r"flops_200\.json, network 1: This is not a network"):
        read_tables(folder, FAMILY)
    (folder / "flops_200.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match="not a list of networks"):
        read_tables(folder, FAMILY)
    (folder / "flops_200.json").write_text(
        json.dumps([write_network(SPACE, SPACE.largest())]), encoding="utf-8"
    )
    with pytest.raises(UserError, match="has no network of 200 M to 220 M"):
        LevelTable(costs, {}, LevelPlan(**{**PLAN, "tables": str(folder)}), seed=0)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="has no file flops_"):
        read_tables(empty, FAMILY)
    other = MBConv(mbconv_space("small", ((4, 8),) * 4, ((1, 2),) * 4, (3,), (1,), (1.0,)), (8, 8, 12, 16), 8)
    with pytest.raises(UserError, match="mbconv have no published tables"):
        read_tables(folder, other)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"span": 0}, "span must be above 0"),
        ({"span": 20, "window": None, "levels": 4}, "span must be above 0"),
        ({"least": {}}, "least must map"),
        ({"least": {"many": "min200"}}, "least must map"),
        ({"least": {-1: "min200"}}, "least must map"),
    ],
)
def test_wrong_plans_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        LevelPlan(**wrong)


def test_unknown_least_networks_and_starts_are_refused(costs: CostTable) -> None:
    with pytest.raises(UserError, match="'min300' in least is not a network") as caught:
        LevelTable(costs, {}, LevelPlan([200], span=20, least={200: "min300"}), seed=0)
    assert "min200" in caught.value.hint
    with pytest.raises(UserError, match="start must be a level from 0 to 2"):
        PerformanceAwareSampling([1, 2, 3], start=3)
