"""The arithmetic of latency tables, on closed-form machines."""

from pathlib import Path

import numpy as np
import pytest

from evonas.errors import DataError
from evonas.objectives.latency.lookup_table import (
    LatencyTable,
    Network,
    compare,
    corrected,
    fit_ridge,
    load,
)
from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import architecture, evonet_space

SPACE = evonet_space("nano", (0.5, 1, 2, 3), (8, 16, 24, 32), (0.5, 1, 2), (2, 2, 4, 2))
FAMILY = EvoNet(SPACE, (24, 48, 96, 192), (2, 4, 8, 8))


def cost(stage: int, m: float, s: float, e: float) -> float:
    return 0.2 * stage + 0.3 * m + 0.01 * s * e


def made_up() -> LatencyTable:
    entries = {}
    for stage in range(1, 5):
        for m in (0.5, 1, 2, 3):
            for s in (8, 16, 24, 32) if stage < 4 else (0,):
                for e in (0.5, 1, 2) if stage < 4 else (0,):
                    mixer = f"/s={s}/e={e:g}" if stage < 4 else ""
                    entries[f"stage{stage}/m={m:g}{mixer}"] = cost(stage, m, s, e)
    return LatencyTable({"machine": {"name": "paper"}}, entries, fixed=1.5)


def network(genotype: Genotype) -> Network:
    return Network.of(FAMILY, genotype, (64, 96))


def drawn(count: int) -> list[Network]:
    return [network(SPACE.sample(generator(0, "lookup", number))) for number in range(count)]


def test_labels_name_what_shapes_a_block() -> None:
    labels = network(SPACE.largest()).labels
    assert (labels[0], labels[-1]) == ("stage1/m=3/s=32/e=2", "stage4/m=3")


def test_only_blocks_that_run_count() -> None:
    smallest = architecture(SPACE, SPACE.smallest())
    assert len(network(SPACE.smallest()).labels) == sum(sum(choice.blocks) for choice in smallest.stages)
    expected = 1.5 + sum(
        sum(choice.blocks) * cost(stage, choice.mlp_ratio, choice.d_state or 0, choice.expand or 0)
        for stage, choice in enumerate(smallest.stages, start=1)
    )
    assert made_up().total(network(SPACE.smallest())) == pytest.approx(expected)


def test_correction_recovers_scale_and_offset() -> None:
    table, shapes = made_up(), drawn(40)
    times = np.array([0.7 * table.total(each) + 2.0 for each in shapes])
    found = corrected(table, shapes[:20], times[:20])
    assert found.scale == pytest.approx(0.7)
    assert found.offset == pytest.approx(2.0)
    for kind in ("table", "predictor"):
        held_out = compare(np.array([found.predict(each, kind) for each in shapes[20:]]), times[20:])
        assert held_out.spearman > 0.999
        assert held_out.mean_error < 1e-2


def test_predictor_learns_what_a_sum_cannot() -> None:
    # depth costs more than its blocks: the sum of entries does not know it
    table, shapes = made_up(), drawn(90)
    times = np.array(
        [
            table.total(each) + 3.0 * sum(label.startswith("stage3/") for label in each.labels)
            for each in shapes
        ]
    )
    found = corrected(table, shapes[:60], times[:60])
    errors = {
        kind: compare(np.array([found.predict(each, kind) for each in shapes[60:]]), times[60:]).mean_error
        for kind in ("table", "predictor")
    }
    assert errors["predictor"] < 0.02
    assert errors["predictor"] < errors["table"] / 2


def test_ridge_ignores_features_that_do_not_vary() -> None:
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.standard_normal(50), np.full(50, 3.0)])
    found = fit_ridge(rows, 5.0 + 2.0 * rows[:, 0])
    assert found.offset + (4.0 - found.mean[0]) / found.spread[0] * found.weights[0] == pytest.approx(
        13, abs=0.1
    )
    assert found.spread[1] == 1.0


def test_features_have_one_length() -> None:
    assert {len(each.features) for each in drawn(20)} == {3 * 5 + 2}


def test_compare_is_relative() -> None:
    found = compare(np.array([1.1, 1.8, 3.0]), np.array([1.0, 2.0, 3.0]))
    assert found.mean_error == pytest.approx(0.2 / 3)
    assert found.worst_error == pytest.approx(0.1)
    assert found.spearman == found.kendall == 1.0
    assert "error 6.7% (worst 10.0%) on 3 held-out subnets" in found.line


def test_round_trip_and_damage(tmp_path: Path) -> None:
    table, shapes = made_up(), drawn(30)
    times = np.array([table.total(each) for each in shapes])
    found = corrected(table, shapes, times)
    held = {kind: compare(times, times) for kind in ("table", "predictor")}
    whole = LatencyTable(
        found.about, found.entries, found.fixed, found.scale, found.offset, found.ridge, held, 1.0
    )
    path = tmp_path / "table.json"
    whole.save(path)
    again = load(path)
    assert again == whole
    assert again.predict(shapes[0], "predictor") == whole.predict(shapes[0], "predictor")
    for text in ("", "{}", "[1]", '{"schema": 1, "entries": 3}', '{"schema": 99}'):
        path.write_text(text)
        with pytest.raises(DataError, match=r"table\.json"):
            load(path)
    with pytest.raises(DataError, match="no latency table"):
        load(tmp_path / "none.json")


def test_a_step_that_is_not_there_is_named() -> None:
    table = LatencyTable({}, {}, 0.0)
    with pytest.raises(DataError, match="no entry for step 'stage1/m="):
        table.total(drawn(1)[0])
