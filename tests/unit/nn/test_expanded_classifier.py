"""ElasticViT's head: its layers by hand, narrower forms, and exports."""

from pathlib import Path

import pytest
import torch

from evonas import files, weights
from evonas.errors import UserError
from evonas.nn.expanded_classifier import ExpandedClassifier
from evonas.nn.level import pyramid
from evonas.stages.networks.exported import CONFIG, FORMAT, MODEL, describe, load_exported
from evonas.supernets.base import LevelChannels
from evonas.supernets.elastic_head import own_head, subnet_head
from evonas.supernets.elasticvit.family import ElasticViT
from evonas.supernets.elasticvit.space import vit_space
from evonas.supernets.supernet import Supernet, extract

LEVELS = pyramid((8, 16))


def _maps(channels: int, filled: int) -> list[torch.Tensor]:
    maps = torch.randn(2, channels, 3, 2, generator=torch.Generator().manual_seed(0))
    maps[:, filled:] = 0
    return [maps]


def _head(**settings: int) -> ExpandedClassifier:
    made = ExpandedClassifier(LEVELS, 5, mix=12, **settings).eval()
    source = torch.Generator().manual_seed(1)
    norm = made.pre_head_norm_0
    for tensor in (
        norm.running_mean,
        norm.running_var,
        norm.weight.data,
        norm.bias.data,
        made.pre_head_1.bias.data,
    ):
        tensor.uniform_(0.5, 1.5, generator=source)
    return made


def test_layers_by_hand() -> None:
    head, [maps] = _head(), _maps(16, 16)
    norm = head.pre_head_norm_0
    with torch.no_grad():
        total = torch.zeros(2, 96)
        for row in range(3):
            for column in range(2):
                x = maps[:, :, row, column] @ head.pre_head_0.weight.T + head.pre_head_0.bias
                x = (x - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.weight + norm.bias
                total += x * (x + 3).clamp(0, 6) / 6
        x = total / 6 @ head.pre_head_1.weight.T + head.pre_head_1.bias
        x = x * (x + 3).clamp(0, 6) / 6
        assert torch.allclose(head([maps]), x @ head.classifer.weight.T + head.classifer.bias, atol=1e-5)


def test_a_narrower_head_has_the_first_rows_and_columns() -> None:
    head, maps = _head(), _maps(16, 8)
    bound, own = (make(head, LevelChannels((8, 8))) for make in (subnet_head, own_head))
    assert own.pre_head_0.weight.shape == (48, 8) and own.pre_head_1.weight.shape == (12, 48)
    assert torch.equal(own.pre_head_1.weight, head.pre_head_1.weight[:, :48])
    with torch.no_grad():
        assert torch.equal(own(maps), bound(maps)) and not torch.allclose(own(maps), head(maps))
    # the copy stands alone, the bound one trains the shared statistics
    bound.train()(maps), own.train()(maps)
    moved = head.pre_head_norm_0.running_mean
    assert torch.equal(moved[:48], own.pre_head_norm_0.running_mean)
    assert torch.equal(moved[48:], _head().pre_head_norm_0.running_mean[48:])
    whole = LevelChannels((8, 16))
    assert subnet_head(head, whole) is head and own_head(head, whole) is not head
    assert own.settings == {**head.settings, "width": 8}


def test_exports_rebuild_the_narrower_head(tmp_path: Path) -> None:
    widths = ((8, 16), (8, 16), (16, 24), (16, 32), (32, 48), (32, 48), (32, 48))
    family = ElasticViT(vit_space("small", widths, ((1, 2),) * 7, (3,), (1,), (1,), (1,), (64,)), 64)
    net = Supernet(family, ExpandedClassifier(family.levels, 3, mix=16)).eval()
    alone = extract(net, family.space.smallest())
    digest = weights.save(tmp_path / MODEL, alone.state_dict())
    files.write_json(tmp_path / CONFIG, {"format": FORMAT, "sha256": digest, **describe(alone)})
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(load_exported(tmp_path)(images), alone(images))


def test_dense_outputs_are_refused() -> None:
    with pytest.raises(UserError, match=r"head\.output must be linear"):
        ExpandedClassifier(LEVELS, 5, output="sigmoid")
