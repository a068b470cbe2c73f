"""Baselines in the report: the first sentence, a star on each front, a row in each table."""

from dataclasses import replace
from typing import Any

import report_made

from evonas.report.page import tables
from evonas.report.page.html import render
from evonas.report.page.sections import front_section, lead
from evonas.report.page.sources import Sources

NET = {"name": "knee", "genotype": "g", "objectives": {"error": 0.2, "latency": 5.0, "macs": 0.5}}
RETRAINED = {
    "knee": {
        "genotype": "g",
        "steps": 4,
        "seconds": 1.0,
        "inherited": {"abs_rel": 0.2},
        "retrained": {"abs_rel": 0.12},
    }
}
RIVAL = {
    "name": "resnet10t",
    "kind": "timm",
    "params": 5_000_000,
    "macs": 400_000_000,
    "costs": {"params": 5.0, "macs": 0.4},
    "objectives": {"error": 0.15, "latency": 4.0},
    "trained": {
        "total": {"steps": 312, "metrics": {"abs_rel": 0.15}},
        "retrain": {"steps": 48, "metrics": {"abs_rel": 0.3}},
    },
}
BASELINES = {
    "error_name": "abs_rel",
    "budget": "total",
    "steps": {"total": 312, "retrain": 48},
    "supernet_steps": 264,
    "retrain_steps": 48,
    "networks": [RIVAL],
}


def sources(**changes: Any) -> Sources:
    made = Sources(
        run="demo",
        task="synthetic",
        command=report_made.command,
        results=report_made.searched(20),
        selected={"error_name": "abs_rel", "nets": [NET]},
        retrained=RETRAINED,
        baselines=BASELINES,
    )
    return replace(made, **changes)


def test_the_report_begins_with_what_the_search_gained() -> None:
    assert lead(sources()).startswith(
        "At equal latency the search gained 0.03 over the best baseline at latency 5 ms (knee: AbsRel 0.12 against "
        "0.15 of the baselines)"
    )
    assert lead(sources(baselines=None)).startswith("Task synthetic.")


def test_every_front_has_a_star_for_each_baseline_and_the_retrained_networks() -> None:
    section = front_section(sources())
    assert [text for _, text in section.legend][-2:] == ["knee retrained", "resnet10t"]
    assert len(section.figures) == 4
    for figure in section.figures[:3]:
        assert "resnet10t:" in figure.svg
    assert "resnet10t" not in front_section(sources(baselines=None)).figures[0].svg


def test_every_table_has_a_row_for_each_baseline() -> None:
    page = render(sources())
    assert "total (312 steps)" in page and "retrain (48 steps)" in page
    assert page.count("resnet10t (baseline)") == 1
    assert "264 steps inside the supernet" in page


def test_the_test_table_shows_costs_of_teacher_and_baselines() -> None:
    scores = {"abs_rel": 0.2}
    test = {
        "error_name": "abs_rel",
        "baseline": {"name": "constant", "metrics": {"abs_rel": 0.4}},
        "teacher": scores,
        "teacher_costs": {"params": 4_000, "macs": 2_000_000, "objectives": {"latency": 9.5}},
        "baselines": [{**RIVAL, "trained": {"total": scores, "retrain": {"abs_rel": 0.35}}}],
        "nets": [{**NET, "params": 1_000, "macs": 1_000_000, "inherited": scores}],
    }
    (table,) = tables.tested(test, {})
    assert table.columns == ["network", "parameters", "MACs", "latency (ms)", "AbsRel \u2193"]
    assert table.rows == [
        ["baseline: constant", "-", "-", "-", "0.4"],
        ["teacher", "4 k", "2 M", "9.5", "0.2"],
        ["resnet10t (baseline, total)", "5 M", "400 M", "4", "0.2"],
        ["resnet10t (baseline, retrain)", "5 M", "400 M", "4", "0.35"],
        ["knee", "1 k", "1 M", "5", "0.2"],
    ]
