"""Checkpoints of Once-for-All and NAT, in every naming that their files have."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from evonas import weights
from evonas.errors import DataError, UserError
from evonas.nn.mobilenet_v3 import MobileNetV3Head
from evonas.supernets.ofa_mbv3.family import OFAMobileNetV3
from evonas.supernets.ofa_mbv3.space import ofa_space
from evonas.supernets.static_net import StaticNet, static_net
from evonas.supernets.supernet import Supernet, extract

FAMILY = OFAMobileNetV3(ofa_space("small", ((1, 2),) * 5, (3, 5, 7), (1, 3), (32, 48)), 0.25)
Tensors = dict[str, Tensor]


def _supernet(seed: int, classes: int = 3) -> Supernet:
    net = Supernet(FAMILY, MobileNetV3Head(FAMILY.levels, classes, seed=seed), seed)
    for name, tensor in net.state_dict().items():
        if name.endswith(("_matrix", "running_mean", "bias")):
            tensor.normal_(generator=torch.Generator().manual_seed(seed))
    return net


def _static(seed: int, digits: tuple[int, ...] = (1, 2, 1, 2, 1)) -> StaticNet:
    values = FAMILY.space.decode(FAMILY.space.largest())
    depths = {f"d{stage}": depth for stage, depth in enumerate(digits, start=1)}
    genotype = FAMILY.space.encode({**values, **depths, "k1": 3, "e3": 1})
    return static_net(FAMILY, MobileNetV3Head(FAMILY.levels, 3, seed=seed), genotype, seed)


def _published(net: nn.Module) -> Tensors:
    return {name.partition(".")[2]: tensor for name, tensor in net.state_dict().items()}


def _renamed(found: Tensors, *pairs: tuple[str, str]) -> Tensors:
    for old, new in pairs:
        found = {re.sub(old, new, name): tensor for name, tensor in found.items()}
    return found


def _flat(found: Tensors) -> Tensors:
    """The names of a static network, whose blocks are numbered one after the other."""
    numbers = sorted({int(name.split(".")[1]) for name in found if name.startswith("blocks.")})
    flat = {
        re.sub(r"\Ablocks\.(\d+)", lambda match: f"blocks.{numbers.index(int(match[1]))}", name): tensor
        for name, tensor in found.items()
    }
    nested = r"(blocks\.[1-9]\d*\.conv\.(?:inverted_bottleneck|depth_conv|point_linear)\.)(conv|bn)\.\2\."
    return _renamed(flat, (nested, r"\1\2."), (r"(blocks\.\d+\.)conv\.", r"\1mobile_inverted_conv."))


OLDER = (r"(blocks\.\d+\.)conv\.", r"\1mobile_inverted_conv.")
VARIANTS: dict[str, Callable[[Tensors], Tensors]] = {
    "present names": dict,
    "older names": lambda found: _renamed(found, OLDER),
    "data parallel": lambda found: _renamed(found, (r"\A", "module.")),
    "older names, data parallel": lambda found: _renamed(found, OLDER, (r"\A", "module.")),
    "nested classifier": lambda found: _renamed(found, (r"classifier\.linear", "classifier.linear.linear")),
}


def _same(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("key", ["state_dict", None])
def test_supernets_are_adopted_whole(
    variant: Callable[[Tensors], Tensors], key: str | None, tmp_path: Path
) -> None:
    source, net = _supernet(1), _supernet(2)
    found = variant(_published(source))
    torch.save({key: found} if key else found, tmp_path / "file.pth")
    adoption = FAMILY.adopt(net, weights.load_foreign(tmp_path / "file.pth"), "zeros")
    assert _same(source, net)
    assert not adoption.left and not adoption.unused and adoption.naming == "Once-for-All"


@pytest.mark.parametrize("variant", [_flat, *VARIANTS.values()], ids=["flat", *VARIANTS])
def test_static_networks_are_adopted_by_that_of_their_genotype(variant: Callable[[Tensors], Tensors]) -> None:
    source, net = _static(1), _static(2)
    assert not _same(source, net)
    FAMILY.adopt(net, variant(_published(source)), "zeros")
    assert _same(source, net)


def test_the_largest_static_network_starts_a_supernet() -> None:
    source, net = _static(1, (2,) * 5), _supernet(2)
    largest = FAMILY.space.largest()
    whole = extract(_supernet(1), largest)
    adoption = FAMILY.adopt(net, _flat(_published(whole)), "zeros")
    assert _same(extract(net, largest), whole)
    assert len(adoption.left) == 20 and all(name.endswith("_matrix") for name in adoption.left)
    with pytest.raises(DataError, match="in the checkpoint and"):
        FAMILY.adopt(net, _flat(_published(source)), "zeros")


def test_another_number_of_classes_leaves_the_head() -> None:
    source, net = _supernet(1, classes=5), _supernet(2)
    head = {name: tensor.clone() for name, tensor in net.head.state_dict().items()}
    adoption = FAMILY.adopt(net, _published(source), "zeros")
    assert _same(net.backbone, source.backbone)
    assert all(torch.equal(tensor, head[name]) for name, tensor in net.head.state_dict().items())
    assert {name.partition(".")[0] for name in adoption.left} == {"head"}


def test_files_that_do_not_fit_are_refused() -> None:
    net = _supernet(2)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    other = OFAMobileNetV3(FAMILY.space, 0.5)
    wide = Supernet(other, MobileNetV3Head(other.levels, 3))
    for found, said in (
        (_published(wide), "in the checkpoint and"),
        (_flat(_published(extract(wide, FAMILY.space.largest()))), "the network's stages have"),
        ({"conv1.weight": torch.zeros(3)}, "has no tensor for backbone.first_conv.conv.weight"),
        (_flat(_published(_static(1))), "backbone.blocks.1.conv.depth_conv.conv.conv.weight is"),
    ):
        with pytest.raises(DataError, match=re.escape(said)):
            FAMILY.adopt(net, found, "zeros")
    with pytest.raises(UserError, match="widening=copies"):
        FAMILY.adopt(net, _published(net), "copies")
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_a_network_is_written_under_the_names_of_net_inherited(tmp_path: Path) -> None:
    source, net = _static(1), _static(2)
    written = FAMILY.network_weights(source.state_dict())
    assert written.keys() == _flat(_published(source)).keys()
    assert "blocks.7.mobile_inverted_conv.depth_conv.se.fc.reduce.weight" in written
    assert all(name.count(".mobile_inverted_conv.") == name.startswith("blocks.") for name in written)
    weights.save_pickled(tmp_path / "net.inherited", written)
    raw = torch.load(tmp_path / "net.inherited", weights_only=True)
    assert raw.keys() == {"state_dict"} and raw["state_dict"].keys() == written.keys()
    FAMILY.adopt(net, weights.load_foreign(tmp_path / "net.inherited"), "zeros")
    assert _same(source, net)
