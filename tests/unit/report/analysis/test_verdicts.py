"""Sentences about fine-tuning that harmed and networks that a trivial predictor beats."""

from dataclasses import replace
from typing import Any

import pytest
from report_made import METRICS

from evonas.report.analysis.verdicts import fine_tuning_harm, losing_to_trivial
from evonas.report.page.html import render
from evonas.report.page.sources import Sources


def depth(error: float | None) -> dict[str, float | None]:
    return {**METRICS, "abs_rel": error}


def test_networks_that_fine_tuning_made_worse_are_named() -> None:
    told = fine_tuning_harm(
        "abs_rel",
        [("knee", depth(0.12), depth(0.2)), ("max", depth(0.12), depth(0.1)), ("new", None, depth(0.3))],
    )
    assert told.startswith(
        "Fine-tuning made 1 of 2 networks worse: knee (AbsRel 0.1200 before, 0.2000 after)."
    )
    assert "train.retrain.lr" in told
    assert fine_tuning_harm("abs_rel", [("max", depth(0.12), depth(0.12))]) == ""
    assert fine_tuning_harm("abs_rel", [("max", depth(None), depth(0.12))]) == ""


def test_metrics_of_which_more_is_better_are_read_as_people_read_them() -> None:
    before, after = {"one_minus_miou": 0.4, "miou": 0.6}, {"one_minus_miou": 0.5, "miou": 0.5}
    assert "knee (mIoU 0.6000 before, 0.5000 after)" in fine_tuning_harm(
        "one_minus_miou", [("knee", before, after)]
    )


def results(*nets: tuple[str, float | None, float | None]) -> dict[str, Any]:
    """Test results of networks: name, error with inherited weights, error after retraining."""
    rows = [
        {"name": name, "inherited": depth(before), "retrained": None if after is None else depth(after)}
        for name, before, after in nets
    ]
    baseline = {"name": "constant depth 3.7 m", "metrics": depth(0.3663)}
    return {"error_name": "abs_rel", "baseline": baseline, "nets": rows}


@pytest.mark.parametrize(
    ("nets", "told"),
    [
        ([("knee", 0.9, 0.1)], ""),
        ([("knee", 0.1, 0.9)], "No network is better on the test split than constant depth 3.7 m"),
        ([("knee", 0.9, None), ("max", 0.9, 0.3663)], "No network is better"),
        (
            [("knee", 0.9, 0.1), ("max", 0.9, 0.8)],
            "max is no better on the test split than constant depth 3.7 m",
        ),
        ([("knee", 0.9, None), ("max", 0.1, None)], "knee is no better"),
        ([("knee", None, None), ("max", 0.1, None)], "knee is no better"),
        ([], ""),
    ],
)
def test_networks_that_lose_to_a_predictor_without_images(
    nets: list[tuple[str, float | None, float | None]], told: str
) -> None:
    found = losing_to_trivial(results(*nets))
    assert found.startswith(told) and bool(found) == bool(told)
    assert not told or "(AbsRel 0.3663)" in found


def test_the_report_says_so_above_everything_else() -> None:
    def command(stage: str) -> str:
        return stage

    bare = Sources("mine", "synthetic", command)
    assert 'class="warning"' not in render(bare)
    harmed = {"knee": {"inherited": depth(0.1), "retrained": depth(0.2), "seconds": 1.0, "scratch": None}}
    chosen = {"error_name": "abs_rel", "nets": []}
    page = render(replace(bare, selected=chosen, retrained=harmed, shortened="Debug run (limits=debug): x."))
    head = page.partition("</header>")[0]
    assert "Debug run (limits=debug)" in head and "Fine-tuning made 1 of 1 networks worse" in head
