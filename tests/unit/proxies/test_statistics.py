"""What a network tells about its layers in one forward and one backward."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.cells.nb201 import NB201Net
from evonas.nn.count import count
from evonas.nn.heads import DenseHead
from evonas.proxies.inputs import RandomTargets, random_images
from evonas.proxies.statistics import LayerStatistics, NetworkStatistics, statistics
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.static_net import StaticNet
from evonas.supernets.supernet import Supernet, extract

pytestmark = pytest.mark.usefixtures("one_thread")
CELL = ("nor_conv_3x3", "none", "skip_connect", "nor_conv_1x1", "avg_pool_3x3", "nor_conv_1x1")


def small() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.ConvTranspose2d(4, 5, 2, 2),
        nn.Flatten(),
        nn.Linear(5 * 64, 3),
    )


def subnet() -> StaticNet:
    space = evonet_space("tiny", depths=[1, 1, 2, 1])
    family = EvoNet(space, [8, 8, 16, 16], [2, 2, 2, 2], 8, 1.0, 1.0, drop_path=0.2)
    return extract(Supernet(family, DenseHead(family.levels, 1, width=8)), space.largest()).eval()


def tensors(found: NetworkStatistics) -> Iterator[Tensor]:
    for layer in found.layers:
        for name in LayerStatistics.__dataclass_fields__:
            value = getattr(layer, name)
            if isinstance(value, Tensor):
                yield value


def test_a_record_holds_what_ran() -> None:
    net, images = small(), random_images((2, 3, 4, 4), 0)
    found = statistics(net, images, 1)
    first, second, third = found.layers
    assert [(layer.name, layer.kind) for layer in found.layers] == [
        ("0", "convolution"),
        ("4", "transposed"),
        ("6", "linear"),
    ]
    assert (first.macs, second.macs, third.macs) == (4 * 27 * 16, 4 * 5 * 4 * 16, 3 * 320)
    assert found.params == sum(parameter.numel() for parameter in net.parameters())
    own = F.conv2d(images, net[0].weight, net[0].bias, padding=1)
    normed = F.batch_norm(own, None, None, net[1].weight, net[1].bias, training=True)
    assert first.output is not None and first.preactivation is not None and first.activation is not None
    torch.testing.assert_close(first.output, own)
    torch.testing.assert_close(first.preactivation, normed)
    torch.testing.assert_close(first.activation, normed.relu())
    assert second.activation is None and third.activation is None
    # dropout is off, so the next layer reads just what the activation made
    assert second.input is not None and torch.equal(second.input, first.activation)


def test_gradients_are_those_of_the_loss() -> None:
    net, images = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), random_images((2, 3, 2, 2), 0)
    found = statistics(net, images, 7)
    value = RandomTargets(7)(net(images))
    value.backward()
    assert found.loss == value.item()
    assert torch.equal(found.layers[0].weight_gradient, net[1].weight.grad)


def test_the_network_stays_as_it_was() -> None:
    net = small().eval().requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    statistics(net, random_images((2, 3, 4, 4), 0))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(module.training for module in net.modules())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("make", [small, lambda: NB201Net(CELL), subnet], ids=["small", "cells", "subnet"])
def test_equal_seeds_give_equal_numbers_whatever_the_global_generator(make: type[nn.Module]) -> None:
    net, side = make(), 4 if make is small else 32
    state = torch.random.get_rng_state()
    first = statistics(net, random_images((2, 3, side, side), 0), 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.random.fork_rng():
        torch.rand(5)
        second = statistics(net, random_images((2, 3, side, side), 0), 3)
    assert all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(second), strict=True))
    assert statistics(net, random_images((2, 3, side, side), 0), 4).loss != first.loss


def test_every_matrix_of_a_subnet_is_seen() -> None:
    net = subnet()
    found = statistics(net, random_images((2, 3, 32, 32), 0), activations=False)
    matrices = {name.removesuffix(".weight") for name, each in net.named_parameters() if each.ndim > 1}
    assert {layer.name for layer in found.layers} == matrices
    assert all(layer.weight_gradient.abs().sum() > 0 for layer in found.layers)
    assert all(layer.output is None and layer.input is None for layer in found.layers)


def test_a_subnets_smooth_activations_are_seen() -> None:
    layers = {layer.name: layer for layer in statistics(subnet(), random_images((2, 3, 32, 32), 0)).layers}
    first = layers["backbone.stages.0.blocks.0.mlp.fc1"]
    assert first.output is not None and first.activation is not None
    torch.testing.assert_close(first.activation, F.gelu(first.output))
    # behind a convolution over channels-last maps, the activation reads it in another shape
    assert layers["backbone.stages.0.blocks.0.mixer.conv"].activation is not None
    assert layers["backbone.stages.0.blocks.0.mixer.gate_proj"].activation is None


def test_multiply_adds_are_those_that_torch_counts() -> None:
    net = NB201Net(CELL)
    found = statistics(net, random_images((2, 3, 32, 32), 0), activations=False)
    assert found.macs == count(net, torch.zeros(1, 3, 32, 32))[1]


def test_places_bound_the_memory_of_maps() -> None:
    net, images = small(), random_images((2, 3, 16, 16), 0)[..., :4, :4]
    whole, some = statistics(net, images).layers[0], statistics(net, images, positions=5).layers[0]
    assert whole.output is not None and some.output is not None
    assert some.output.shape == (2, 4, 5)
    assert torch.equal(some.output, whole.output.flatten(2)[..., [0, 4, 8, 11, 15]])
    assert torch.equal(some.weight, whole.weight)


def test_a_layer_without_influence_has_no_gradient() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.idle(x)
            return self.used(self.used(x).repeat(1, 2))

    found = statistics(Idle(), torch.ones(2, 4))
    assert [layer.name for layer in found.layers] == ["idle", "used"]
    assert not found.layers[0].weight_gradient.any()


def test_a_network_without_layers_or_with_several_outputs_is_refused() -> None:
    class Pair(nn.Linear):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            return x, x

    with pytest.raises(UserError, match="no convolution and no linear layer"):
        statistics(nn.ReLU(), torch.ones(2, 4, requires_grad=True))
    with pytest.raises(UserError, match="got tuple"):
        statistics(Pair(2, 2), torch.ones(2, 2))
    with pytest.raises(UserError, match="empty"):
        random_images((2, 3, 0, 4), 0)


def test_random_targets_suit_the_output() -> None:
    loss = RandomTargets(0)
    dense = torch.zeros(2, 5, 3, 3)
    assert loss(dense).item() == pytest.approx(torch.log(torch.tensor(5.0)).item())
    depth = torch.randn(2, 1, 3, 3)
    assert loss(depth) == loss(depth) and loss(depth) != RandomTargets(1)(depth)
