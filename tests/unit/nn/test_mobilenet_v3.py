"""The parts of MobileNetV3, and its head."""

from pathlib import Path

import pytest
import torch

from evonas import files, weights
from evonas.errors import UserError
from evonas.nn.level import pyramid
from evonas.nn.mobilenet_v3 import MobileNetV3Head, SqueezeExcite, activation
from evonas.stages.networks.exported import CONFIG, FORMAT, MODEL, describe, load_exported
from evonas.supernets.ofa_mbv3.family import OFAMobileNetV3
from evonas.supernets.ofa_mbv3.space import ofa_space
from evonas.supernets.static_net import static_net


def _images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_gates_are_computed_from_means() -> None:
    layer, x = SqueezeExcite(8, 8), _images(2, 8, 3, 5)
    reduce, expand = layer.fc.reduce, layer.fc.expand
    with torch.no_grad():
        hidden = (x.mean((2, 3)) @ reduce.weight[:, :, 0, 0].T + reduce.bias).relu()
        gates = ((hidden @ expand.weight[:, :, 0, 0].T + expand.bias + 3).clamp(0, 6) / 6)[:, :, None, None]
        assert torch.allclose(layer(x), x * gates, atol=1e-6)


@pytest.mark.parametrize("name", ["relu", "h_swish", "mish"])
def test_activations(name: str) -> None:
    x = _images(100) * 4
    wanted = {
        "relu": x.clamp(min=0),
        "h_swish": x * (x + 3).clamp(0, 6) / 6,
        "mish": x * torch.log1p(x.exp()).tanh(),
    }
    assert torch.allclose(activation(name)(x), wanted[name], atol=1e-6)


def test_unknown_activations_and_dense_outputs_are_refused() -> None:
    with pytest.raises(UserError, match="act_func=gelu"):
        MobileNetV3Head(pyramid([8]), 3, act_func="gelu")
    with pytest.raises(UserError, match=r"head\.output must be linear"):
        MobileNetV3Head(pyramid([8]), 3, output="sigmoid")


def test_an_exported_network_is_loaded_with_its_activations_and_constants(tmp_path: Path) -> None:
    space = ofa_space("small", ((1,),) * 5, (3,), (1,), (48,))
    family = OFAMobileNetV3(space, 0.25, "mish", bn_eps=1e-2)
    head = MobileNetV3Head(family.levels, 3, act_func="mish", bn_eps=1e-2)
    net = static_net(family, head, space.smallest()).eval()
    digest = weights.save(tmp_path / MODEL, net.state_dict())
    files.write_json(tmp_path / CONFIG, {"format": FORMAT, "sha256": digest, **describe(net)})
    images = _images(2, 3, 40, 64)
    with torch.no_grad():
        assert torch.equal(load_exported(tmp_path)(images), net(images))
