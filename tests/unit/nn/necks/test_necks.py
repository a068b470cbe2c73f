"""Necks: sizes, parameters of the published pyramid, odd sides, learning and fused kernels."""

import inspect

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.testing import assert_close

from evonas import config
from evonas.cli import conf_dir
from evonas.errors import UserError
from evonas.nn.initialise import initialise, uninitialised
from evonas.nn.level import Level
from evonas.nn.necks.fpn import FPN
from evonas.nn.necks.mamba_fpn import MambaFPN
from evonas.nn.sasf import fuse

PUBLISHED = [Level(64, 4), Level(128, 8), Level(256, 16), Level(512, 32)]
SMALL = [Level(8, 4), Level(12, 8), Level(16, 16)]
NECKS = [FPN, MambaFPN]


def maps(levels, height=70, width=45, batch=2):
    generator = torch.Generator().manual_seed(0)
    sides = [(-(-height // level.stride), -(-width // level.stride)) for level in levels]
    return [
        torch.randn(batch, level.channels, *side, generator=generator)
        for level, side in zip(levels, sides, strict=True)
    ]


def parameters(module):
    return sum(each.numel() for each in module.parameters())


def test_the_mamba_pyramid_has_the_published_parameters():
    neck = MambaFPN(PUBLISHED)
    assert parameters(neck.top_down) == 2_202_112 + 963_843 + 248_451 + 65_859 + 172_480
    assert parameters(neck) == 5_866_633


def test_the_plain_pyramid_has_the_parameters_of_its_layers():
    channels = [level.channels for level in PUBLISHED]
    assert parameters(FPN(PUBLISHED)) == sum(256 * (dim + 1) + 256 * (9 * 256 + 1) for dim in channels)


@pytest.mark.parametrize("neck", NECKS)
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("extra", [0, 2])
def test_sides_that_do_not_divide_make_a_pyramid_of_one_width(neck, count, extra):
    made, given = neck(SMALL[-count:], out_channels=24, extra=extra).eval(), maps(SMALL[-count:])
    found = made(given)
    assert len(found) == count + extra == len(made.levels)
    assert [each.shape[-2:] for each in found[:count]] == [each.shape[-2:] for each in given]
    assert all(each.shape[1] == level.channels == 24 for each, level in zip(found, made.levels, strict=True))
    assert [level.stride for level in made.levels] == [*[4, 8, 16][-count:], *[32, 64][:extra]]


@pytest.mark.parametrize("neck", NECKS)
def test_an_extra_level_is_every_second_position(neck):
    *_, before, last = neck(SMALL, out_channels=8)(maps(SMALL))
    assert torch.equal(last, before[:, :, ::2, ::2])


@pytest.mark.parametrize("neck", NECKS)
def test_every_level_and_parameter_matters(neck):
    made, given = neck(SMALL, out_channels=8), [each.requires_grad_() for each in maps(SMALL)]
    sum(each.square().sum() for each in made(given)).backward()
    assert all(each.grad.abs().sum() > 0 for each in given)
    assert [name for name, each in made.named_parameters() if not each.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("neck", NECKS)
def test_the_coarsest_map_reaches_the_finest(neck):
    made, given = neck(SMALL, out_channels=8).eval(), maps(SMALL)
    changed = [
        *given[:-1],
        given[-1] + torch.randn(given[-1].shape, generator=torch.Generator().manual_seed(1)),
    ]
    assert not torch.allclose(made(given)[0], made(changed)[0])


@pytest.mark.parametrize("neck", NECKS)
def test_weights_are_a_function_of_the_seed(neck):
    one, same, other = (neck(SMALL, out_channels=8, seed=seed) for seed in (3, 3, 4))
    initialise(other, 3)
    for mine, theirs, redrawn in zip(one.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs) and torch.equal(mine, redrawn)


def test_fused_kernels_give_the_same_pyramid():
    neck = MambaFPN(SMALL, out_channels=8).eval()
    for mine, fused in zip(neck(maps(SMALL)), fuse(neck)(maps(SMALL)), strict=True):
        assert_close(mine, fused, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("neck", NECKS)
@pytest.mark.parametrize("wrong", [{"levels": []}, {"out_channels": 0}, {"extra": -1}])
def test_sizes_that_make_no_pyramid_are_refused(neck, wrong):
    with pytest.raises(UserError, match="A pyramid needs"):
        neck(**{"levels": SMALL, **wrong})


def test_channels_that_strip_pooling_cannot_quarter_are_refused():
    with pytest.raises(UserError, match="divide by 4, got 18"):
        MambaFPN([Level(8, 4), Level(18, 8)])


@pytest.mark.parametrize(
    "path", sorted((conf_dir() / "head" / "neck").glob("*.yaml")), ids=lambda path: path.stem
)
def test_files_give_the_keywords_of_their_necks(path):
    node = OmegaConf.load(path)
    made = config.allowed(node["_target_"])
    assert {key for key in node if not key.startswith("_")} <= inspect.signature(made).parameters.keys()
    neck = config.build(node)(SMALL)
    assert [level.channels for level in neck.levels] == [256] * 4


@pytest.mark.parametrize("neck", NECKS)
def test_a_neck_may_be_built_inside_a_head_that_is_unset(neck):
    whole = nn.Module()
    with uninitialised(whole, 5):
        whole.neck = neck(SMALL, out_channels=8)
    alone = nn.Sequential(neck(SMALL, out_channels=8, seed=5))
    for mine, theirs in zip(whole.parameters(), alone.parameters(), strict=True):
        assert torch.equal(mine, theirs)
