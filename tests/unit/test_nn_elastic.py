"""Slicing rules of the elastic layers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evonas.errors import UserError
from evonas.nn.backbone import Backbone
from evonas.nn.elastic import ElasticDepthwise, ElasticLayerNorm, ElasticLinear, prefix
from evonas.nn.initialise import initialise
from evonas.supernets.evonet.mixers import SSDMixer
from evonas.supernets.evonet.space import architecture, evonet_space


def _ready(layer):
    initialise(layer, 0)
    return layer


def test_prefix_takes_the_first_rows_of_each_segment():
    rows = torch.arange(10)
    assert prefix(rows, (4, 3, 3), (2, 3, 1)).tolist() == [0, 1, 4, 5, 6, 7]
    assert prefix(rows, (4, 3, 3), (4, 3, 3)) is rows


def test_prefix_of_heads_takes_the_first_rows_of_each_head():
    rows = torch.arange(11)
    assert prefix(rows, (8, 3), (4, 1), heads=2).tolist() == [0, 1, 4, 5, 8]
    assert prefix(rows, (8, 3), (8, 1), heads=2).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert prefix(rows, (8, 3), (8, 3), heads=2) is rows


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


def test_linear_slices_columns_by_head():
    layer = _ready(ElasticLinear(8, (4,), in_heads=2))
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    expected = F.linear(x, layer.weight[:3, [0, 1, 4, 5]], layer.bias[:3])
    torch.testing.assert_close(layer(x, (3,)), expected)


def test_layer_norm_takes_its_scale_by_head():
    layer = ElasticLayerNorm(8, heads=2)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(8.0))
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    expected = F.layer_norm(x, (4,)) * torch.tensor([0.0, 1.0, 4.0, 5.0])
    torch.testing.assert_close(layer(x), expected)


def _head_of(mixer, channel, inner, monkeypatch):
    """The head that a stored channel works in, or None where the subnet does not have it."""
    seen = []
    monkeypatch.setattr("evonas.supernets.evonet.mixers.ssd", lambda x, *_: seen.append(x) or x)
    with torch.no_grad():
        mixer(torch.ones(1, 3, 3, 4), inner, 2)
        mixer.token_proj.weight[channel] += 1
        mixer(torch.ones(1, 3, 3, 4), inner, 2)
        mixer.token_proj.weight[channel] -= 1
    changed = (seen[1] - seen[0]).abs().sum(dim=(0, 1, 3)).nonzero().flatten().tolist()
    return changed[0] if changed else None


def test_a_channel_keeps_its_head_where_wanted(monkeypatch):
    found = {}
    for slice in ("prefix", "per_head"):
        mixer = SSDMixer(4, heads=2, inner=8, d_state=2, slice=slice)
        initialise(mixer, 0)
        for inner in (8, 4, 2):
            found[slice, inner] = [_head_of(mixer, each, inner, monkeypatch) for each in range(8)]
    assert found["per_head", 8] == found["prefix", 8] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert found["per_head", 4] == [0, 0, None, None, 1, 1, None, None]
    assert found["per_head", 2] == [0, None, None, None, 1, None, None, None]
    assert found["prefix", 4] == [0, 0, 1, 1, None, None, None, None]


@pytest.mark.parametrize("is_largest", [True, False])
def test_slices_share_their_layout_and_differ_below_the_largest(is_largest):
    space = evonet_space(expand=[1, 2], d_state=[4], mlp_ratio=[1], depths=[1, 1])
    genotype, x = space.largest() if is_largest else space.smallest(), torch.ones(1, 3, 32, 32)
    first, second = (
        Backbone(space, (8, 16), (2, 2), stem_dim=4, slice=slice).eval() for slice in ("prefix", "per_head")
    )
    first.load_state_dict(second.state_dict())
    outputs = [each(x, architecture(space, genotype))[-1] for each in (first, second)]
    assert torch.equal(*outputs) == is_largest


def test_an_unknown_slice_is_refused():
    with pytest.raises(UserError, match="'suffix'"):
        Backbone(evonet_space(depths=[1]), (8,), (2,), slice="suffix")


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
