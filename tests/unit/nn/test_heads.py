"""The light dense head, on our levels and on those of another network."""

import pytest
import timm
import torch

from evonas.errors import UserError
from evonas.nn.heads import DenseHead
from evonas.nn.level import Level

LEVELS = (Level(8, 4), Level(16, 8), Level(24, 16), Level(32, 32))


def _maps(levels, height=64, width=96):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, level.channels, height // level.stride, width // level.stride, generator=generator)
        for level in levels
    ]


def test_output_has_the_size_of_the_input():
    assert DenseHead(LEVELS, out_channels=11)(_maps(LEVELS)).shape == (2, 11, 64, 96)


def test_sigmoid_is_bounded_by_scale():
    head = DenseHead(LEVELS, 1, output="sigmoid", scale=20.0)
    output = head([1e3 * features for features in _maps(LEVELS)])
    assert output.min() >= 0 and output.max() <= 20 and output.max() > 19


def test_every_level_matters():
    head = DenseHead(LEVELS, 1)
    maps = [features.requires_grad_() for features in _maps(LEVELS)]
    head(maps).square().sum().backward()
    assert all(features.grad.abs().sum() > 0 for features in maps)
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters())


def test_serves_another_network():
    body = timm.create_model("resnet10t", features_only=True, out_indices=(1, 2, 3, 4))
    info = zip(body.feature_info.channels(), body.feature_info.reduction(), strict=True)
    head = DenseHead([Level(channels, stride) for channels, stride in info], 3)
    assert head(body(torch.zeros(1, 3, 64, 96))).shape == (1, 3, 64, 96)


def test_unknown_output_is_refused():
    with pytest.raises(UserError, match="output=tanh"):
        DenseHead(LEVELS, 1, output="tanh")
