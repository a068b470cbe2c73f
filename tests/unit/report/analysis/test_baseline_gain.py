"""What a search gained over baselines at equal cost, with numbers made by hand."""

import logging
from pathlib import Path
from typing import Any

import pytest

from evonas import files
from evonas.errors import DamagedError
from evonas.metric import known_metric, metric_of
from evonas.report.analysis.baseline_gain import Gain, Scored, gain, gain_in, gain_of
from evonas.stages.compare import _gain

ABS_REL = known_metric("abs_rel")
BASELINES = [Scored("small", 1.0, 0.4), Scored("large", 4.0, 0.2), Scored("poor", 2.0, 0.5)]


def found(*selected: Scored) -> Gain:
    made = gain(selected, BASELINES, "latency", "ms", ABS_REL)
    assert made is not None
    return made


def test_errors_are_interpolated_on_the_baselines_own_front() -> None:
    # halfway between 1 and 4 ms in the logarithm; the dominated baseline of 2 ms does not count
    (row,) = found(Scored("knee", 2.0, 0.25)).rows
    assert row.baseline == pytest.approx(0.3)
    assert row.gain == pytest.approx(0.05)


def test_beyond_the_most_expensive_baseline_its_error_counts() -> None:
    (row,) = found(Scored("max", 9.0, 0.21)).rows
    assert row.baseline == 0.2
    assert row.gain == pytest.approx(-0.01)


def test_below_the_cheapest_baseline_a_worse_network_is_told_apart() -> None:
    made = found(Scored("tiny", 0.5, 0.45), Scored("less", 0.25, 0.46))
    assert [row.gain for row in made.rows] == [None, None] and made.short == "-"
    assert made.sentence() == (
        "tiny is cheaper than every baseline, 0.5 ms at AbsRel 0.45 against 1 ms at 0.4 of small, and so is 1 more."
    )


def test_a_cheaper_and_better_network_beats_the_cheapest_baseline() -> None:
    made = found(Scored("tiny", 0.5, 0.3), Scored("less", 0.25, 0.46))
    assert made.short == "1 of 1" and made.rows[1].gain == pytest.approx(0.1)
    assert made.sentence() == (
        "At equal latency the search gained 0.1 over the best baseline at latency 0.5 ms (tiny: AbsRel 0.3 against 0.4 "
        "of the baselines); it is better at 1 of 1 selected networks' latency. less is cheaper than every baseline, "
        "0.25 ms at AbsRel 0.46 against 1 ms at 0.4 of small."
    )


def test_the_sentence_names_the_largest_gain_and_counts() -> None:
    made = found(Scored("max", 4.0, 0.22), Scored("knee", 2.0, 0.25), Scored("low", 1.0, 0.38))
    assert [row.name for row in made.rows] == ["low", "knee", "max"]
    assert made.short == "2 of 3"
    assert made.sentence() == (
        "At equal latency the search gained 0.05 over the best baseline at latency 2 ms (knee: AbsRel 0.25 against "
        "0.3 of the baselines); it is better at 2 of 3 selected networks' latency."
    )


def test_a_search_that_gained_nothing_says_so() -> None:
    made = found(Scored("max", 4.0, 0.22), Scored("knee", 2.0, 0.35))
    assert made.num_better == 0
    assert made.sentence() == (
        "The search gained nothing over the baselines at equal latency: of 2 compared networks max at latency 4 ms is "
        "nearest, 0.02 behind (AbsRel 0.22 against 0.2 of the baselines)."
    )


@pytest.mark.parametrize(("selected", "baselines"), [([], BASELINES), ([Scored("knee", 1.0, 0.1)], [])])
def test_without_one_side_there_is_no_gain(selected: list[Scored], baselines: list[Scored]) -> None:
    assert gain(selected, baselines, "latency", "ms", ABS_REL) is None


def _baselines(objectives: dict[str, float]) -> dict[str, Any]:
    trained = {"total": {"metrics": {"abs_rel": 0.4}}, "retrain": {"metrics": {"abs_rel": 0.6}}}
    network = {"name": "small", "objectives": objectives, "costs": {"macs": 0.5}, "trained": trained}
    return {"error_name": "abs_rel", "budget": "total", "networks": [network]}


def test_a_runs_files_are_compared_by_latency_and_the_longest_training() -> None:
    net = {"name": "knee", "objectives": {"error": 0.9, "latency": 1.0, "macs": 0.1}}
    retrained = {"knee": {"retrained": {"abs_rel": 0.3}}}
    made = gain_of({"nets": [net]}, retrained, _baselines({"latency": 1.0}), {"latency": "ms"})
    assert made is not None and made.cost == "latency" and made.unit == "ms"
    assert made.rows[0].error == 0.3 and made.rows[0].baseline == 0.4
    assert made.facts()["better"] == 1


def test_where_no_latency_is_known_multiply_adds_count() -> None:
    net = {"name": "knee", "objectives": {"error": 0.9, "macs": 0.6}}
    made = gain_of(
        {"nets": [net]}, {"knee": {"retrained": {"abs_rel": 0.3}}}, _baselines({"latency": 1.0}), {}
    )
    assert made is not None and made.cost == "macs"


def test_networks_without_a_score_are_left_out() -> None:
    nets = [{"name": name, "objectives": {"latency": 1.0}} for name in ("knee", "broken")]
    retrained = {name: {"retrained": {"abs_rel": score}} for name, score in (("knee", 0.3), ("broken", None))}
    made = gain_of({"nets": nets}, retrained, _baselines({"latency": 1.0}), {"latency": "ms"})
    assert made is not None and [row.name for row in made.rows] == ["knee"]


def test_networks_that_are_not_retrained_are_left_out() -> None:
    net = {"name": "knee", "objectives": {"latency": 1.0}}
    assert gain_of({"nets": [net]}, {}, _baselines({"latency": 1.0}), {}) is None


def test_people_read_the_metric_of_the_task() -> None:
    metric = metric_of("one_minus_miou", {"miou"})
    made = gain([Scored("knee", 2.0, 0.4)], [Scored("rival", 1.0, 0.5)], "latency", "ms", metric)
    assert made is not None and "gained 0.1 over" in made.sentence()
    assert "mIoU 0.6 against 0.5 of the baselines" in made.sentence()


@pytest.mark.parametrize(
    ("damaged", "content"),
    [
        ("retrain/knee/result.json", {"genotype": "a:1"}),
        ("retrain/knee/result.json", {"genotype": "a:1", "retrained": {"abs_rel": "good"}}),
        ("baselines/baselines.json", {"networks": 3}),
        ("baselines/baselines.json", {"error_name": "abs_rel", "budget": "total", "networks": [{}]}),
        ("baselines/baselines.json", [1]),
    ],
)
def test_damaged_files_are_told_and_do_not_stop_a_comparison(
    damaged: str, content: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net = {"name": "knee", "genotype": "a:1", "objectives": {"latency": 1.0}}
    files.write_json(tmp_path / "selected.json", {"nets": [net]})
    result = {"genotype": "a:1", "retrained": {"abs_rel": 0.3}}
    files.write_json(tmp_path / "retrain/knee/result.json", result)
    files.write_json(tmp_path / "baselines/baselines.json", _baselines({"latency": 1.0}))
    made = gain_in(tmp_path)
    assert made is not None and made.short == "1 of 1"
    files.write_json(tmp_path / damaged, content)
    with pytest.raises(DamagedError, match=r"baselines and retrained networks in .* are damaged"):
        gain_in(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert _gain(tmp_path) is None
    assert f"leaves out the baselines of {tmp_path.name}" in caplog.text
