"""What is found in timm models, and that the whole network is timm's own, bit for bit."""

import pytest
import timm
import torch

from evonas.errors import UserError
from evonas.supernets.elastic_timm.backbone import whole
from evonas.supernets.elastic_timm.structure import HEADS, WIDTH
from evonas.supernets.elastic_timm.structure_store import structure_of
from evonas.supernets.elastic_timm.trace import trace

pytestmark = pytest.mark.usefixtures("one_thread")


def test_groups_of_a_residual_network():
    found = structure_of("test_resnet")
    assert [stage.stride for stage in found.stages] == [4, 8, 16, 32] and not found.refused
    by_name = {block.name: block for block in found.blocks}
    [group] = by_name["layer1.0"].groups
    owned = {(axis.tensor, axis.axis) for axis in found.groups[group].axes}
    bn = {(f"layer1.0.bn1.{each}", 0) for each in ("weight", "bias", "running_mean", "running_var")}
    assert owned == {("layer1.0.conv1.weight", 0), ("layer1.0.conv2.weight", 1), *bn}
    # a first block with another stride is no identity without its branch
    assert by_name["layer1.0"].is_droppable and not by_name["layer2.0"].is_droppable


def test_heads_and_neurons_of_a_vision_transformer():
    found = structure_of("test_vit")
    kinds = [(found.groups[at].kind, found.groups[at].units) for at in found.blocks[1].groups]
    assert kinds == [(HEADS, 2), (WIDTH, 192)]
    heads = found.groups[found.blocks[1].groups[0]]
    assert [(axis.starts, axis.length) for axis in heads.axes if axis.tensor.endswith("qkv.weight")] == [
        ((0, 64, 128), 32)
    ]
    assert {each.attribute for each in found.settings} >= {"num_heads", "out_features", "in_features"}
    assert sum(block.is_droppable for block in found.blocks) == 6


@pytest.mark.parametrize(
    ("name", "size", "indices"),
    [
        ("test_resnet", (64, 96), (1, 2, 3, 4)),
        ("test_convnext", (64, 96), (0, 1, 2, 3)),
        ("test_vit", (48, 80), (0, 2, 3, 5)),
    ],
)
def test_the_whole_network_is_timms(name, size, indices):
    structure = structure_of(name)
    arguments = dict(structure.arguments)
    theirs = timm.create_model(
        name, pretrained=False, features_only=True, out_indices=indices, **arguments
    ).eval()
    plain = timm.create_model(name, pretrained=False, num_classes=0, **arguments)
    backbone = whole(structure)
    state = backbone.net.state_dict()
    # the same numbers in both: timm's wrapper renames modules, and keeps their order
    names = [each for each in plain.state_dict() if each in state]
    wrapped = [each for each in theirs.state_dict() if "norm_pre" not in each]
    own = dict(zip(wrapped, names, strict=False))
    assert [each.replace("model.", "").replace("_", ".") for each in own] == [
        each.replace("_", ".") for each in own.values()
    ]
    theirs.load_state_dict({**theirs.state_dict(), **{key: state[value] for key, value in own.items()}})
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, found = theirs(images), backbone(images)
    assert len(wanted) == len(found) == 4
    assert all(map(torch.equal, wanted, found))


def test_no_chain_is_refused():
    with pytest.raises(UserError, match="cannot be made elastic"):
        trace("hrnet_w18_small")
