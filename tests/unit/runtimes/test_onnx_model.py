"""Networks as ONNX models: traced, or exported where tracing is wrong, and refused by name where neither works."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir

from evonas import schema
from evonas.cli import conf_dir
from evonas.errors import UserError
from evonas.runtimes.onnx_model import onnx_model
from evonas.stages.build.setup import Setup
from evonas.supernets.supernet import Supernet, extract


class Resized(torch.nn.Module):
    """Both kinds of antialiased resizing, one of them of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.grid = torch.nn.Parameter(torch.linspace(0, 1, 3 * 6 * 6).reshape(1, 3, 6, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        small = F.interpolate(x, (8, 12), mode="bilinear", antialias=True)
        return small + F.interpolate(self.grid, (8, 12), mode="bicubic", antialias=True)


@pytest.mark.parametrize("traced", [True, False])
def test_a_network_to_be_timed_computes_the_same_in_onnxruntime(
    traced: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export, exporters = torch.onnx.export, list[bool]()

    def noted(*args: Any, dynamo: bool, **settings: Any) -> Any:
        exporters.append(dynamo)
        if not dynamo and not traced:
            print("the graph at the error")
            raise RuntimeError("cannot be traced")
        return export(*args, dynamo=dynamo, **settings)

    monkeypatch.setattr(torch.onnx, "export", noted)
    net, image = Resized().eval(), torch.rand(1, 3, 16, 24)
    session = onnxruntime.InferenceSession(onnx_model(net, image))
    (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), net(image).detach(), atol=2e-3, rtol=1e-3)
    assert exporters == ([False] if traced else [False, True])
    assert capsys.readouterr().out == ""


def test_a_network_that_no_exporter_converts_is_refused() -> None:
    pytest.importorskip("onnxscript")

    class Sorted(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor(sorted(x.flatten().tolist()))

    with pytest.raises(UserError, match="cannot be converted to ONNX: ") as caught:
        onnx_model(torch.nn.Sequential(Sorted()).eval(), torch.rand(1, 3, 2, 2))
    assert caught.value.hint == "runtime=torch"


def test_a_network_that_decides_by_the_image_is_not_traced() -> None:
    pytest.importorskip("onnxscript")

    class Decides(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sqrt() if x[0, 0, 0, 0] > 0.5 else -x

    image = torch.zeros(1, 3, 2, 2)
    image[..., 0] = 1
    # the other exporter refuses it by name
    with pytest.raises(UserError, match="cannot be converted to ONNX: "):
        onnx_model(Decides().eval(), image)


@pytest.mark.parametrize("network", ["resnet10t", "nano", "nano_cnn"])
def test_subnets_are_traced_for_onnxruntime(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    schema.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        setup = Setup(compose("config", ["+task=synthetic", f"network={network}"]))
    net = Supernet(setup.family, setup.task.head(setup.family.levels), 0)
    image = torch.rand(1, 3, 64, 96)
    export, exporters = torch.onnx.export, list[bool]()

    def noted(*args: Any, dynamo: bool, **settings: Any) -> Any:
        exporters.append(dynamo)
        return export(*args, dynamo=dynamo, **settings)

    monkeypatch.setattr(torch.onnx, "export", noted)
    for genotype in (setup.space.smallest(), setup.space.largest()):
        subnet = extract(net, genotype).eval()
        session = onnxruntime.InferenceSession(onnx_model(subnet, image))
        (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(found), subnet(image), atol=2e-3, rtol=1e-3)
    assert exporters == [False, False]
