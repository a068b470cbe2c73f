"""Blocks, levels, drop path and initialisation of the backbone."""

import numpy as np
import pytest
import torch

from evonas.errors import UserError
from evonas.nn.heads import DenseHead
from evonas.nn.residual import drop_path
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.mixers import Attention, SSDMixer
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.supernet import Supernet

SIZES = {"dims": (8, 16, 24, 32), "heads": (2, 4, 2, 4), "stem_dim": 6}


@pytest.fixture(scope="module")
def space():
    return evonet_space(expand=[0.5, 1, 2], d_state=[4, 6], mlp_ratio=[0.5, 1, 3], depths=[1, 2, 2, 2])


def _image(batch=2, height=64, width=96, seed=0):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("height, width", [(64, 96), (61, 45), (33, 32), (1, 1)])
def test_levels_say_what_comes_out(space, height, width):
    family = EvoNet(space, **SIZES)
    maps = family.build(space.smallest(), 0).eval()(_image(1, height, width))
    assert [level.stride for level in family.levels] == [4, 8, 16, 32]
    for level, features in zip(family.levels, maps, strict=True):
        rows, columns = (-(-side // level.stride) for side in (height, width))
        assert features.shape == (1, level.channels, rows, columns)


def test_drop_path_rates_follow_the_place_in_the_supernet(space):
    backbone = EvoNet(space, drop_path=0.3, **SIZES).build(None, 0)
    rates = [block.drop_path for stage in backbone.stages for block in stage.blocks.values()]
    assert rates == pytest.approx(np.linspace(0, 0.3, 7))


def test_drop_path_keeps_the_mean_and_drops_whole_samples():
    torch.manual_seed(0)
    dropped = drop_path(torch.ones(20000, 2, 3), 0.25)
    assert dropped.mean() == pytest.approx(1, abs=0.02)
    per_sample = dropped.flatten(1)
    assert (per_sample == per_sample[:, :1]).all()
    assert sorted(per_sample.unique().tolist()) == pytest.approx([0, 4 / 3])


def test_drop_path_acts_in_training_only(space):
    backbone, x = EvoNet(space, drop_path=0.9, **SIZES).build(None, 0), _image()
    backbone.eval()
    assert torch.equal(backbone(x)[-1], backbone(x)[-1])
    backbone.train()
    assert not torch.equal(backbone(x)[-1], backbone(x)[-1])


def test_weights_are_a_function_of_the_seed_alone(space):
    state = torch.get_rng_state()
    first, again, other = (EvoNet(space, **SIZES).build(None, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem.enter.0.weight"], other["stem.enter.0.weight"])


def test_starting_values_of_the_ssd():
    backbone = EvoNet(evonet_space(depths=[1, 1, 8, 1]), (8, 8, 64, 8), (2, 2, 32, 2)).build(None, 0)
    mixers = [module for module in backbone.modules() if isinstance(module, SSDMixer)]
    a = torch.cat([mixer.A_log.exp() for mixer in mixers])
    dt = torch.cat([torch.nn.functional.softplus(mixer.dt_bias) for mixer in mixers])
    assert 1 <= a.min() < 3 and 14 < a.max() <= 16
    assert 1e-3 * 0.999 <= dt.min() < 2e-3 and 0.05 < dt.max() <= 0.1 * 1.001
    assert all((mixer.D == 1).all() for mixer in mixers)
    assert mixers[-1].out_proj.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_ssd_mixer_is_equivariant_to_token_order_without_its_convolution():
    mixer = EvoNet(evonet_space(), (8, 8, 8, 8), (2, 2, 2, 2)).build(None, 0).stages[0].blocks["0"].mixer
    with torch.no_grad():
        mixer.conv.weight.zero_()
        mixer.conv.weight[:, 0, 1, 1] = 1
    x = torch.randn(2, 3, 4, 8, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    shuffled = x.flatten(1, 2)[:, order].view_as(x)
    expected = mixer(x).flatten(1, 2)[:, order].view_as(x)
    torch.testing.assert_close(mixer(shuffled), expected)


def test_attention_equals_its_definition():
    attention = Attention(12, 3).double()
    x = torch.randn(2, 2, 3, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    q, k, v = attention.qkv(x.flatten(1, 2)).view(2, 6, 3, 3, 4).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-1, -2) / 4**0.5).softmax(-1)
    expected = attention.out((weights @ v).transpose(1, 2).reshape(2, 6, 12)).view_as(x)
    torch.testing.assert_close(attention(x), expected)


def test_blocks_that_are_off_get_no_gradient(space):
    supernet = _supernet(space)
    genotype = space.encode({**space.decode(space.largest()), "d2": (True, False)})
    supernet(_image(), genotype).sum().backward()
    blocks = supernet.backbone.stages[1].blocks
    assert all(parameter.grad is not None for parameter in blocks["0"].parameters())
    assert all(parameter.grad is None for parameter in blocks["1"].parameters())


def test_interleaved_subnets_do_not_influence_one_another(space):
    supernet, x = _supernet(space), _image()
    small, large = space.smallest(), space.largest()
    supernet(x, large).square().mean().backward()
    alone = {name: parameter.grad.clone() for name, parameter in supernet.named_parameters()}
    supernet.zero_grad()
    fresh = _supernet(space)
    first = fresh(x, large)
    fresh(x, small)
    first.square().mean().backward()
    assert all(torch.equal(parameter.grad, alone[name]) for name, parameter in fresh.named_parameters())


def test_heads_that_do_not_divide_a_width_are_refused():
    with pytest.raises(UserError, match="4 heads do not divide the width 6"):
        EvoNet(evonet_space(expand=[0.5, 0.75, 1]), (8, 8, 8, 8), (4, 4, 4, 4))


def test_missing_stages_are_refused(space):
    with pytest.raises(UserError, match="3 dims"):
        EvoNet(space, (8, 16, 24), (2, 4, 2))


def _supernet(space):
    family = EvoNet(space, **SIZES)
    return Supernet(family, DenseHead(family.levels, 1, width=8))
