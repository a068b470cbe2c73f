"""Hidden channels are sorted before smaller expansions are opened, and what was trained stays what it was."""

import copy

import pytest
import torch
from torch import Tensor

from evonas.nn.mobilenet_v3 import MobileNetV3Head
from evonas.space.genotype import Genotype
from evonas.stages.training.sorting import sort_before_step
from evonas.supernets.ofa_mbv3.family import OFAMobileNetV3
from evonas.supernets.ofa_mbv3.space import ofa_space
from evonas.supernets.supernet import Supernet

SPACE = ofa_space("small", ((1, 2),) * 5, (3, 5), (1, 3, 6), (1.0,))
WHOLE = {"kernel": "max", "depth": "max", "expand": "max"}
SOME = {"expand": [3, 6]}


@pytest.fixture
def net() -> Supernet:
    family = OFAMobileNetV3(SPACE, 0.25)
    made = Supernet(family, MobileNetV3Head(family.levels, 3)).eval()
    source = torch.Generator().manual_seed(1)
    for name, tensor in made.backbone.state_dict().items():
        if name.endswith(("bias", "running_mean")):
            tensor.normal_(0, 0.1, generator=source)
        elif name.endswith(("running_var", "bn.weight", "bn.bn.weight")):
            tensor.uniform_(0.5, 1.5, generator=source)
        elif name.endswith("conv.weight"):
            tensor.normal_(0, 0.3, generator=source)
    return made


def _of(expand: int, kernel: int = 3) -> Genotype:
    values = SPACE.decode(SPACE.largest())
    return SPACE.encode(
        {gene: {"e": expand, "k": kernel}.get(gene[0], value) for gene, value in values.items()}
    )


def _output(net: Supernet, genotype: Genotype) -> Tensor:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return net(images, genotype)


def _importance(net: Supernet, number: int) -> Tensor:
    weight = net.backbone.state_dict()[f"blocks.{number}.conv.point_linear.conv.conv.weight"]
    return weight.abs().sum((0, 2, 3))


def test_the_whole_network_stays_and_its_channels_are_sorted(net: Supernet) -> None:
    kept, other = (_output(net, _of(each)) for each in (6, 3))
    sort_before_step(net, [WHOLE], SOME)
    torch.testing.assert_close(_output(net, _of(6)), kept, rtol=1e-5, atol=1e-4)
    assert not torch.allclose(_output(net, _of(3)), other, atol=1e-3)
    for number in range(1, 11):
        assert (_importance(net, number).diff() <= 1e-6).all()


def test_trained_widths_keep_their_channels(net: Supernet) -> None:
    outputs = {each: _output(net, _of(each)) for each in (6, 3, 1)}
    sort_before_step(net, [WHOLE, SOME], {})
    for each in (6, 3):
        torch.testing.assert_close(_output(net, _of(each)), outputs[each], rtol=1e-5, atol=1e-4)
    assert not torch.allclose(_output(net, _of(1)), outputs[1], atol=1e-3)
    trained = net.family.shape.block(0, 1, 5, 3).hidden
    importance = _importance(net, 2)
    assert (importance[:trained].diff() <= 0).all() and (importance[trained:].diff() <= 0).all()
    assert importance[trained] > importance[trained - 1]


@pytest.mark.parametrize(
    ("trained", "opened"),
    [([], WHOLE), ([WHOLE], {"depth": "max", "expand": "max"}), ([WHOLE, SOME], SOME), ([{}], {})],
)
def test_nothing_moves_unless_expansions_are_opened(net: Supernet, trained: list, opened: dict) -> None:
    before = copy.deepcopy(net.state_dict())
    sort_before_step(net, trained, opened)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_no_order_sorts_nothing() -> None:
    family = OFAMobileNetV3(SPACE, 0.25, order="none")
    net = Supernet(family, MobileNetV3Head(family.levels, 3))
    before = copy.deepcopy(net.state_dict())
    sort_before_step(net, [WHOLE], {})
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
