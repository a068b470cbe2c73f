"""Rotated heads lose first what matters least."""

from dataclasses import replace

import pytest
import timm
import torch
from timm.layers import Attention
from torch import nn

from evonas.supernets.elastic_timm.family import ElasticTimm
from evonas.supernets.elastic_timm.rotation import RotatedAttention
from evonas.supernets.elastic_timm.space import elastic_space
from evonas.supernets.supernet import Supernet

pytestmark = pytest.mark.usefixtures("one_thread")
MODEL, RANK = "test_vit", 12


class _Last(nn.Module):
    """The last level, as a head."""

    def forward(self, levels):
        return levels[-1]


def _supernet(order):
    """Whose heads have logits and outputs of rank 12 of 32, if no channel is looked at alone."""
    family = ElasticTimm(elastic_space(MODEL, heads=(0.5, 1.0), depth=1.0), MODEL, order=order)
    net, source = Supernet(family, _Last(), 0).eval(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for block in net.backbone.net.blocks:
            for layer in (block.attn.qkv, block.attn.proj):
                layer.weight.normal_(0, layer.in_features**-0.5, generator=source)
                layer.bias.normal_(0, 1, generator=source)
            heads, width = block.attn.num_heads, block.attn.head_dim
            rows = block.attn.qkv.weight.view(3, heads, width, -1)
            for at in (1, 2):
                mixing = torch.randn(heads, width, RANK, generator=source) / RANK**0.5
                rows[at] = mixing @ rows[at, :, :RANK]
    return net


def _images(seed):
    return torch.randn(4, 3, 96, 96, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("order", ["rotated", "centred"])
def test_channels_beyond_the_rank_of_a_head_cost_nothing(order):
    net = _supernet(order)
    largest = net.space.largest()
    indices = [0 if axis.name[0] == "h" else len(axis.choices) - 1 for axis in net.space.axes]
    half = net.space.from_vector(indices)
    with torch.no_grad():
        before = net(_images(0), largest)
    net.family.sort_finally(
        net, [lambda seed=seed: net(_images(seed), largest).square().sum() for seed in (1, 2)]
    )
    with torch.no_grad():
        whole, cut = net(_images(0), largest), net(_images(0), half)
    scale = before.std()
    assert (whole - before).abs().max() < 1e-3 * scale
    # whole heads cannot go without a loss
    assert ((cut - before).abs().max() < 0.02 * scale) == (order == "rotated")


def test_rotation_takes_plain_attention_alone():
    for attention in (
        Attention(16, 2, qk_norm=True, norm_layer=nn.LayerNorm),
        Attention(16, 2, gated=True),
        nn.Linear(2, 2),
    ):
        with pytest.raises(ValueError, match="not an attention whose heads"):
            RotatedAttention(attention)


def test_whole_attention_computes_timms_bits():
    model = timm.create_model(MODEL, pretrained=False).eval()
    x = torch.randn(2, 9, model.embed_dim, generator=torch.Generator().manual_seed(0))
    attention = model.blocks[0].attn
    with torch.no_grad():
        assert torch.equal(RotatedAttention(attention)(x), attention(x))


def test_models_with_other_attention_keep_their_structure_beside_rotated_heads():
    family = ElasticTimm(elastic_space(MODEL), MODEL, order="rotated")
    plain = ElasticTimm(elastic_space(MODEL), MODEL)
    assert replace(family.structure, rotated=(), centred=()).stages == plain.structure.stages
    smallest, largest = family.space.smallest(), family.space.largest()
    assert family.path(smallest)[1].choice[1:] != plain.path(smallest)[1].choice[1:]
    assert [family.price(step, (96, 96)) for step in family.path(largest)] == [
        plain.price(step, (96, 96)) for step in plain.path(largest)
    ]
    words = [bar.what for stage in family.draw(smallest) for block in stage.blocks if block for bar in block]
    assert "16 channels a head" in words
