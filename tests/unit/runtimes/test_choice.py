"""Which runtime a setting means, and what is refused by name."""

import pytest
import torch

from evonas.errors import UserError
from evonas.runtimes import base, choice
from evonas.runtimes.choice import RUNTIMES, Auto, named, resolved
from evonas.runtimes.onnxruntime import OnnxRuntime
from evonas.runtimes.openvino import OpenVino
from evonas.runtimes.torch_compile import TorchCompile
from evonas.runtimes.torch_eager import TorchEager

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "device", "graphs", "chosen"),
    [
        ("fp32", "cpu", False, "onnxruntime"),
        ("int8", "cpu", False, "onnxruntime"),
        ("bf16", "cpu", False, "torch"),
        ("fp32", "cuda", False, "torch"),
        ("fp32", "cuda", True, "torch"),
    ],
)
def test_auto_is_onnxruntime_on_a_cpu(
    precision: str, device: str, graphs: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    settings = Auto(precision=precision, threads=2, batch=3)
    found = settings.chosen(torch.device(device), graphs)
    assert (found.name, found.precision, found.threads, found.batch) == (chosen, precision, 2, 3)
    monkeypatch.setattr(choice, "is_installed", lambda _: False)
    assert settings.chosen(torch.device(device), graphs).name == "torch"


def test_the_precision_is_that_of_evaluations_where_nothing_else_is_said() -> None:
    for hardware, precision in [("32-true", "fp32"), ("bf16-mixed", "bf16"), ("16-mixed", "fp16")]:
        assert resolved(TorchEager(), CPU, hardware).precision == precision
    assert resolved(TorchEager(precision="fp32"), CPU, "bf16-mixed").precision == "fp32"


@pytest.mark.parametrize(
    ("settings", "hardware", "graphs", "said", "typed"),
    [
        (
            OnnxRuntime(),
            "bf16-mixed",
            False,
            "computes in fp32.* on cpu, not in bf16",
            "runtime.precision=fp32",
        ),
        (
            TorchEager(precision="int8"),
            "32-true",
            False,
            "computes in fp32, fp16, bf16 on cpu, not in int8",
            "fp32",
        ),
        (TorchEager(), "32-true", True, "CUDA graphs need", "graphs=false"),
        (OnnxRuntime(), "32-true", True, "CUDA graphs need", "graphs=false"),
    ],
)
def test_what_a_runtime_cannot_do_is_refused(
    settings: base.Settings, hardware: str, graphs: bool, said: str, typed: str
) -> None:
    if isinstance(settings, OnnxRuntime):
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    with pytest.raises(UserError, match=said) as caught:
        resolved(settings, CPU, hardware, graphs=graphs)
    assert typed in str(caught.value.hint)


def test_settings_that_cannot_be_are_refused_where_they_are_made() -> None:
    with pytest.raises(UserError, match="runtime=abacus is unknown"):
        named("abacus")
    with pytest.raises(UserError, match=r"runtime\.precision=fp8 is unknown"):
        OpenVino(precision="fp8")
    for key in ("threads", "batch"):
        with pytest.raises(UserError, match=f"runtime.{key} must be at least 1, got 0"):
            OpenVino(**{key: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_missing_package_is_named_with_what_installs_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = RUNTIMES[name](precision="fp32")
    if not runtime.packages:
        pytest.skip("it needs torch alone")
    monkeypatch.setattr(base, "is_installed", lambda _: False)
    with pytest.raises(UserError, match=f"runtime={name} needs {runtime.packages[0]}") as caught:
        runtime.check(CPU)
    assert f"evonas[{runtime.extra}]" in str(caught.value.hint)


def test_tensorrt_is_refused_by_name_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(UserError, match="needs TensorrtExecutionProvider") as caught:
        resolved(named("tensorrt"), CPU)
    assert "runtime=torch" in str(caught.value.hint)


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="needs a C\\+\\+ compiler"):
        resolved(TorchCompile(), CPU)


def test_the_thread_s_clock_needs_one_thread() -> None:
    clock_for = base.clock_for
    assert clock_for("auto", TorchEager, CPU, 1) == clock_for("cpu", OnnxRuntime, CPU, 1) == "cpu"
    assert clock_for("wall", TorchEager, CPU, 1) == clock_for("auto", TorchEager, CPU, 2) == "wall"
    for clock, count in [("cpu", 2), ("cpu", 3), ("moon", 1)]:
        with pytest.raises(UserError, match="clock"):
            clock_for(clock, TorchEager, CPU, count)
