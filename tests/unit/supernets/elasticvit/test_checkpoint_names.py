"""Checkpoints of ElasticViT: names after `module.`, averaged weights first, and files that do not fit."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from evonas import weights
from evonas.errors import DataError, UserError
from evonas.nn.expanded_classifier import ExpandedClassifier
from evonas.supernets.elasticvit.family import ElasticViT
from evonas.supernets.elasticvit.space import vit_space
from evonas.supernets.supernet import Supernet

WIDTHS = ((8, 16), (8, 16), (16, 24), (16, 32), (32, 48), (32, 48), (32, 48))
SPACE = vit_space("small", WIDTHS, ((1, 2),) * 7, (3, 5), (1, 3), (1, 2), (1, 2), (64, 96))
FAMILY = ElasticViT(SPACE, bias_side=96)
Tensors = dict[str, Tensor]


def _supernet(seed: int, classes: int = 3) -> Supernet:
    net = Supernet(FAMILY, ExpandedClassifier(FAMILY.levels, classes, mix=32, seed=seed), seed)
    for name, tensor in net.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(generator=torch.Generator().manual_seed(seed))
    return net


def _published(net: nn.Module, prefix: str = "") -> Tensors:
    return {f"{prefix}{name.partition('.')[2]}": tensor for name, tensor in net.state_dict().items()}


def _same(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("prefix", ["", "module.", "module.module."])
def test_a_checkpoint_is_adopted_whole_and_its_averaged_weights_first(prefix: str, tmp_path: Path) -> None:
    averaged, last, net = _supernet(1), _supernet(2), _supernet(3)
    file = tmp_path / "checkpoint.pth"
    content = {
        "epoch": 599,
        "state_dict": _published(last, prefix),
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]},
        "bank": {100: [[[128, [16, 16]], -1.5]]},
        "arch": "elastic",
        "extras": {},
        "model_ema": _published(averaged, prefix),
    }
    torch.save(content, file)
    adoption = FAMILY.adopt(net, weights.load_foreign(file, FAMILY.checkpoint_entries), "zeros")
    assert _same(net, averaged) and not _same(net, last)
    assert not adoption.left and not adoption.unused and adoption.naming == "ElasticViT"
    del content["model_ema"]
    torch.save(content, file)
    FAMILY.adopt(net, weights.load_foreign(file, FAMILY.checkpoint_entries), "zeros")
    assert _same(net, last)


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
    other = ElasticViT(SPACE, bias_side=128)
    index = "feature_exactor.2.layers.0.relative_position_index"
    good = _published(_supernet(1))
    for found, said in (
        (_published(Supernet(other, ExpandedClassifier(other.levels, 3, mix=32))), "in the checkpoint and"),
        ({"conv1.weight": torch.zeros(3)}, "has no tensor for backbone.first_conv.weight"),
        ({**good, index: good[index] + 1}, "does not hold rows of a table of 121"),
        ({**good, index: good[index].float()}, "does not hold rows of a table of 121"),
    ):
        with pytest.raises(DataError, match=re.escape(said)):
            FAMILY.adopt(net, found, "zeros")
    with pytest.raises(UserError, match="widening=copies"):
        FAMILY.adopt(net, good, "copies")
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
