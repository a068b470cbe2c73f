"""Weights of timm and torchvision models go into a timm network whole, or not at all."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor, nn

from evonas import files
from evonas.errors import DataError, UserError
from evonas.nn.timm_weights import load_timm_weights

State = Mapping[str, Tensor]
Write = Callable[[State, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(state: State, name: str) -> Path:
        path = tmp_path / name
        if path.suffix == ".safetensors":
            safetensors.torch.save_file(
                {key: value.contiguous().clone() for key, value in state.items()}, path
            )
        else:
            torch.save(dict(state), path)
        return path

    return written


def _timm(name: str, **options: Any) -> nn.Module:
    network: nn.Module = timm.create_model(name, pretrained=False, **options)
    return network


def _random(network: nn.Module) -> nn.Module:
    """All tensors different from a fresh network's, statistics of batch norm included."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 0.9)
    return network


@pytest.mark.parametrize(
    "name", ["resnet10t", "mobilenetv3_small_050", "convnext_atto", "vit_tiny_patch16_224"]
)
@pytest.mark.parametrize("file", ["w.safetensors", "w.pth"])
def test_a_classifiers_file_fills_the_features(name: str, file: str, write: Write) -> None:
    whole = _random(_timm(name))
    features = _timm(name, features_only=True)
    matched = load_timm_weights(features, write(whole.state_dict(), file))
    known = {key.replace("_", ".").removeprefix("model."): each for key, each in whole.state_dict().items()}
    for key, tensor in features.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(tensor, known[key.replace("_", ".").removeprefix("model.")]), key
    assert matched.by == "name"
    assert matched.unused
    assert matched.sha256 == files.sha256(Path(matched.file))


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "body.network."])
def test_wrappers_and_prefixes(wrapper: str, prefix: str, tmp_path: Path) -> None:
    source = _random(_timm("resnet10t", features_only=True))
    state = {f"{prefix}{key}": each for key, each in source.state_dict().items()}
    state["decode_head.conv.weight"] = torch.ones(3, 3, 1, 1)
    path = tmp_path / "w.pt"
    torch.save({wrapper: state, "epoch": 3}, path)
    target = _timm("resnet10t", features_only=True)
    assert load_timm_weights(target, path).unused == ("decode_head.conv.weight",)
    assert torch.equal(
        target.state_dict()["layer1.0.conv1.weight"], source.state_dict()["layer1.0.conv1.weight"]
    )


@pytest.mark.parametrize(
    ("other", "name"), [("mobilenet_v2", "mobilenetv2_100"), ("convnext_tiny", "convnext_tiny")]
)
@pytest.mark.parametrize("file", ["w.safetensors", "w.pth"])
def test_torchvisions_layout_computes_the_same(other: str, name: str, file: str, write: Write) -> None:
    torch.manual_seed(0)
    source = getattr(torchvision.models, other)().eval()
    target = _timm(name).eval()
    matched = load_timm_weights(target, write(source.state_dict(), file))
    assert matched.by == "order"
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(target(images), source(images), rtol=1e-4, atol=1e-5)


def test_torchvisions_resnet_has_timms_names(write: Write) -> None:
    path = write(torchvision.models.resnet18().state_dict(), "w.safetensors")
    matched = load_timm_weights(_timm("resnet18", features_only=True), path)
    assert (matched.by, matched.unused) == ("name", ("fc.bias", "fc.weight"))
    assert matched.text() == (
        f"100 tensors from {path}, matched by name; 2 others in the file are unused (fc.bias, fc.weight)"
    )


def test_stages_that_are_left_out_may_be_in_the_file(write: Write) -> None:
    path = write(_timm("convnext_atto").state_dict(), "w.pth")
    features = _timm("convnext_atto", features_only=True, out_indices=(0, 1))
    matched = load_timm_weights(features, path)
    assert any(each.startswith("stages.3.") for each in matched.unused)


@pytest.mark.parametrize(
    ("given", "wanted", "says"),
    [
        ("resnet10t", "resnet18", r"has \d+ of its 100 tensors by name.*lacks"),
        ("resnet34", "resnet18", r"70 more of a deeper network \(first layer1.2.conv1.weight\)"),
        ("mobilenetv3_small_050", "mobilenetv3_small_075", r"in another shape \(.* is \(.*\) in the network"),
        ("convnext_atto", "resnet18", r"has 0 of its 100 tensors by name, lacks 100 \(first conv1.weight\)"),
    ],
)
def test_another_networks_file_is_refused_whole(given: str, wanted: str, says: str, write: Write) -> None:
    target = _timm(wanted, features_only=True)
    before = {key: each.clone() for key, each in target.state_dict().items()}
    with pytest.raises(DataError, match=says) as caught:
        load_timm_weights(
            target, write(_timm(given).state_dict(), "w.pth"), f"timm:{wanted}", "teacher.weights"
        )
    assert f"does not hold timm:{wanted}" in caught.value.message
    assert f"teacher.weights=<a file of timm:{wanted}" in str(caught.value.hint)
    assert all(torch.equal(each, before[key]) for key, each in target.state_dict().items())


def test_a_hub_id_is_answered_with_what_to_download() -> None:
    with pytest.raises(UserError, match="is not a file") as caught:
        load_timm_weights(nn.Linear(1, 1), Path("timm/resnet18.a1_in1k"))
    assert "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors" in str(
        caught.value.hint
    )


def test_a_missing_file() -> None:
    with pytest.raises(UserError, match=r"weights=no/such.pth is not a file") as caught:
        load_timm_weights(nn.Linear(1, 1), Path("no/such.pth"), "timm:resnet18")
    assert "Check the path of the weights of timm:resnet18" in str(caught.value.hint)
