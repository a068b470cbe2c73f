"""Slicing rules of the elastic layers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evonas.nn.elastic import ElasticDepthwise, ElasticLayerNorm, ElasticLinear, prefix
from evonas.nn.initialise import initialise


def _ready(layer):
    initialise(layer, 0)
    return layer


def test_prefix_takes_the_first_rows_of_each_segment():
    rows = torch.arange(10)
    assert prefix(rows, (4, 3, 3), (2, 3, 1)).tolist() == [0, 1, 4, 5, 6, 7]
    assert prefix(rows, (4, 3, 3), (4, 3, 3)) is rows


def test_linear_slices_rows_by_segment_and_columns_by_input():
    layer = _ready(ElasticLinear(8, (4, 2)))
    x = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0))
    rows = [0, 1, 2, 4]
    expected = F.linear(x, layer.weight[rows][:, :6], layer.bias[rows])
    torch.testing.assert_close(layer(x, (3, 1)), expected)


def test_depthwise_slices_channels_and_keeps_channels_last():
    layer = _ready(ElasticDepthwise((4, 2)))
    x = torch.randn(2, 5, 7, 4, generator=torch.Generator().manual_seed(0))
    rows = [0, 1, 2, 4]
    conv = nn.Conv2d(4, 4, 3, padding=1, groups=4)
    conv.weight.data, conv.bias.data = layer.weight[rows], layer.bias[rows]
    y = layer(x, (3, 1))
    torch.testing.assert_close(y, conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
    assert y.is_contiguous()


def test_layer_norm_normalises_over_the_width_it_sees():
    layer = ElasticLayerNorm(8)
    x = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x).mean(-1), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(layer(x).var(-1, unbiased=False), torch.ones(2), atol=1e-3, rtol=0)


def test_gradients_reach_used_weights_only():
    layer = _ready(ElasticLinear(4, (3, 3)))
    layer(torch.ones(1, 2), (1, 2)).sum().backward()
    used = layer.weight.grad != 0
    assert used[[0, 3, 4], :2].all() and used.sum() == 6


@pytest.mark.parametrize("make", [lambda n: ElasticLinear(n, (n, 2)), lambda n: ElasticDepthwise((n, n))])
def test_inherits_what_a_subnet_uses(make):
    large, small = _ready(make(6)), make(3)
    small.inherit(large)
    widths = small.segments
    x = torch.randn(1, 4, 4, sum(widths) if isinstance(small, ElasticDepthwise) else 3)
    assert torch.equal(small(x, widths), large(x, widths))
