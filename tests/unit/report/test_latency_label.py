"""How a latency was measured stands beside it, in archives of every release."""

from typing import Any

import numpy as np
import pytest

from evonas.report.results import SearchResults, latency_labels, measured_with

DEVICE = {"name": "a processor", "type": "cpu"}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (
            {"runtime": ["openvino", "2026.4"], "precision": "bf16", "threads": 2, "batch": 8},
            "openvino 2026.4 bf16 with 2 threads and 8 images a pass",
        ),
        (
            {"runtime": ["torch", "2.14"], "precision": "fp32", "threads": 1, "batch": 1},
            "torch 2.14 fp32 with 1 thread",
        ),
        # of earlier releases
        ({"runtime": ["torch", "2.14"], "threads": 1}, "torch 2.14 with 1 thread"),
        ({"runtime": "torch"}, "torch with 1 thread"),
    ],
)
def test_a_latency_is_told_with_what_it_depends_on(facts: dict[str, Any], said: str) -> None:
    expected = f"latency is measured in {said} on a processor."
    extra = {"latency": facts, "device": DEVICE}
    assert latency_labels(extra) == [expected]
    results = SearchResults(("latency",), ("a", "b"), np.ones((2, 1)), extras=[extra, extra])
    assert measured_with(results) == [expected]


@pytest.mark.parametrize(
    "extra", [None, {}, {"latency": {"threads": 1}, "device": DEVICE}, {"latency": {"runtime": "torch"}}]
)
def test_what_is_not_known_is_not_told(extra: Any) -> None:
    assert latency_labels(extra) == []
