"""Runtimes on the command line: refused before anything is trained, and told by old and new words."""

from collections.abc import Callable
from typing import Any

import pytest

SMALL = ("+task=synthetic", "+debug=fast", "network=nano_cnn", "objective=[error,latency]", "run=small")


@pytest.mark.parametrize(
    ("words", "said", "typed"),
    [
        (["runtime=tensorrt"], "needs TensorrtExecutionProvider", "runtime=torch"),
        (["runtime=torch", "runtime.precision=int8"], "not in int8", "runtime.precision=fp32"),
        (["runtime=torch", "runtime.precision=fp8"], "runtime.precision=fp8 is unknown", "fp16"),
        (["runtime.threads=0"], "runtime.threads must be at least 1, got 0", "runtime.threads=1"),
        (["runtime.batch=-2"], "runtime.batch must be at least 1, got -2", "runtime.batch=1"),
        (["objective.latency.runtime=abacus"], "abacus", "openvino"),
        (
            ["runtime.threads=2", "objective.latency.clock=cpu"],
            "clock=cpu needs",
            "objective.latency.clock=wall",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    words: list[str], said: str, typed: str, evonas_command: Callable[..., Any]
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    ended = evonas_command(*SMALL, *words)
    assert ended.code == 2
    assert said in ended.err and typed in ended.err and "Traceback" not in ended.err
    assert "[1/" not in ended.out
