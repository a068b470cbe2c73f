"""Latencies that are no measurements, as archives of earlier releases hold them, are marked wherever they stand."""

from typing import Any

import numpy as np
import pytest

from evonas.metric import Metric
from evonas.report.analysis.comparison import compared
from evonas.report.page.tables import nets
from evonas.report.results import DOUBT, SearchResults, doubts, front_summary, is_doubtful

GOOD = {"low_ms": 1.2, "high_ms": 1.3, "repeats": 40, "disturbed": 3, "cv": 0.02}
WIDE = {"low_ms": 0.08, "high_ms": 1.0, "repeats": 10, "disturbed": 10, "cv": 2.33}
BUSY = {"low_ms": 1.2, "high_ms": 1.3, "repeats": 12, "disturbed": 12, "cv": 0.02}


@pytest.mark.parametrize(
    ("value", "record", "is_none"),
    [
        (1.275, GOOD, False),
        (0.0925, WIDE, True),
        (0.0925, {**WIDE, "disturbed": 0}, True),
        (1.275, BUSY, True),
        # judged when it was measured
        (200.0, {**BUSY, "runs": 12, "low_ms": 190.0, "high_ms": 210.0}, False),
        (1.0, None, False),
        (1.0, {"cv": 3.0}, False),
    ],
)
def test_what_is_no_measurement(value: float, record: Any, is_none: bool) -> None:
    assert is_doubtful(value, record) is is_none


def results(**last: Any) -> SearchResults:
    values = np.array([[0.2, 1.275], [0.3, 1.25], [0.4, 0.0925]])
    extras = [{"latency": GOOD}, {"latency": GOOD}, {"latency": WIDE}]
    return SearchResults(
        ("error", "latency"), ("a", "b", "c"), values, {"latency": "ms"}, (1.0, 2.0), extras=extras, **last
    )


def test_it_is_marked_wherever_it_is_shown() -> None:
    found = results()
    assert dict(found.doubtful) == {"c": ("latency",)}
    [sentence] = doubts(found)
    assert "latency of 1 of 3 points" in sentence
    assert f" 0.0925{DOUBT}" in front_summary(found)
    chosen = [
        {"name": name, "genotype": name, "objectives": found.objectives(row)}
        for row, name in enumerate(found.genotypes)
    ]
    table = nets(chosen, {}, "error", Metric("error"), found, {})
    assert [row[2] for row in table.rows] == ["1.275", "1.25", f"0.0925{DOUBT}"]
    both = compared({"one": found, "two": found})
    assert [point.doubtful for point in both.front if point.genotype == "c"] == [("latency",)]
    assert any(warning.startswith("'one': latency of 1 of 3") for warning in both.warnings)


def test_nothing_is_said_without_doubt() -> None:
    found = results()
    honest = SearchResults(found.names, found.genotypes[:2], found.values[:2], extras=found.extras[:2])
    assert not honest.doubtful and doubts(honest) == []
    assert DOUBT not in front_summary(honest)
