"""Where the time of a network goes, by ONNX Runtime's own profiler."""

import json
from pathlib import Path

import pytest
from latency_servers import model

from evonas.errors import DataError
from evonas.runtimes.onnx_profile import by_operation, fallbacks, profiled, read_profile

CPU = "CPUExecutionProvider"


def test_every_node_has_a_time() -> None:
    nodes = profiled(model(128, 3), passes=5)
    assert [node.operation for node in nodes] == ["MatMul"] * 3
    assert all(node.ms > 0 and node.provider == CPU for node in nodes)
    assert len({node.name for node in nodes}) == 3
    [whole] = by_operation(nodes)
    assert (whole.nodes, whole.share) == (3, 1.0)
    assert fallbacks(nodes, CPU) == {}
    assert fallbacks(nodes, "CUDAExecutionProvider") == {"MatMul": CPU}


def event(name: str, operation: str, us: float) -> dict[str, object]:
    args = {"op_name": operation, "provider": CPU}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": us, "args": args}


def test_the_median_counts_and_the_dearest_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    passes = [[event("a", "Conv", us), event("b", "Add", 100)] for us in (9000, 9000, 9000, 300, 500, 9000)]
    other = {"cat": "Session", "name": "model_run", "dur": 5}
    path.write_text(json.dumps([other, *(each for one in passes for each in one)]))
    found = by_operation(read_profile(path))
    assert [(each.operation, each.ms) for each in found] == [("Conv", 0.5), ("Add", 0.1)]
    assert found[0].share == pytest.approx(5 / 6)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"cat": "Node", "name": "a_kernel_time"}]'])
def test_what_is_no_profile_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(content)
    with pytest.raises(DataError, match="cannot be read"):
        read_profile(path)
