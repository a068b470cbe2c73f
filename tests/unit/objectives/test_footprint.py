"""Peak memory and energy of a pass, by the process that runs it."""

from pathlib import Path

import pytest
import small_run

from evonas.config import to_plain
from evonas.errors import UserError
from evonas.objectives.context import EvaluationContext
from evonas.objectives.footprint import Energy, PeakMemory
from evonas.runtimes import latency_server
from evonas.runtimes.onnxruntime import OnnxRuntime
from evonas.runtimes.torch_eager import TorchEager
from evonas.stages.build import factory


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> EvaluationContext:
    made = small_run.context(tmp_path_factory.mktemp("run"))
    small_run.train(made)
    plain = [to_plain(made.cfg[key]) for key in ("space", "network", "task")]
    plain[2]["data"] |= {"height": 256, "width": 256}
    return EvaluationContext(*plain, made.run.need(factory.SUPERNET, made_by="supernet"))


def test_peak_memory_has_weights_and_activations(context: EvaluationContext) -> None:
    memory = PeakMemory(OnnxRuntime())
    memory.prepare(context)
    small, facts = memory.measure(context.space.smallest())
    large, _ = memory.measure(context.space.largest())
    again, _ = memory.measure(context.space.largest())
    # ONNX Runtime alone takes several MB
    assert 5 < small < large < 500
    assert again == pytest.approx(large, rel=0.05)
    assert facts["peak_memory"]["device"]["onnxruntime"]
    assert facts["peak_memory"]["run_bytes"] - facts["peak_memory"]["idle_bytes"] == small * 1e6
    assert memory.identity(context)["device"]["processor"]


def test_what_loading_takes_counts_where_it_is_asked_for(context: EvaluationContext) -> None:
    running, loading = PeakMemory(OnnxRuntime()), PeakMemory(OnnxRuntime(), loading=True)
    for each in (running, loading):
        each.prepare(context)
    point = context.space.largest()
    value, facts = loading.measure(point)
    told = facts["peak_memory"]
    assert value == (max(told["load_bytes"], told["run_bytes"]) - told["idle_bytes"]) / 1e6
    assert running.identity(context) != loading.identity(context)


def test_other_runtimes_are_refused_by_name() -> None:
    with pytest.raises(UserError, match="peak_memory is measured in ONNX Runtime, not in runtime=torch"):
        PeakMemory(TorchEager())
    with pytest.raises(UserError, match="passes must be at least 1"):
        PeakMemory(passes=0)


def counters(folder: Path, *values: int) -> None:
    for number, value in enumerate(values):
        package = folder / f"intel-rapl:{number}"
        package.mkdir(exist_ok=True)
        (package / "energy_uj").write_text(f"{value}\n")
        (package / "max_energy_range_uj").write_text("999\n")


def test_energy_is_refused_by_name_where_no_counter_can_be_read(
    context: EvaluationContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency_server, "_ENERGY", tmp_path)
    with pytest.raises(
        UserError, match=r"does not tell energy: the counters of its processor, /sys/class/powercap"
    ):
        Energy(OnnxRuntime()).identity(context)
    with pytest.raises(UserError, match="seconds must be in"):
        Energy(seconds=0)
    counters(tmp_path, 5)
    assert Energy(OnnxRuntime()).identity(context)["device"]["processor"]


def test_counters_of_energy_add_up_and_begin_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_server, "_ENERGY", tmp_path)
    counters(tmp_path, 100, 990)
    before = latency_server._energy_uj()
    counters(tmp_path, 300, 10)
    # 200 and 20 microjoules: the second counter passed its range
    assert latency_server._spent_mj(before, latency_server._energy_uj()) == pytest.approx(0.220)
    assert latency_server._spent_mj([], []) is None
