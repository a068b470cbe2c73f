"""Closed forms against networks that were counted while they ran."""

import numpy as np
import pytest
import torch

from evonas.nn.count import count, count_head
from evonas.nn.heads import DenseHead
from evonas.nn.level import Level
from evonas.ops import backend
from evonas.supernets.base import Cost, cost
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space


def _family(mixer="noncausal"):
    space = evonet_space(expand=[0.5, 1, 2], d_state=[4, 6], mlp_ratio=[0.5, 1.7, 3], depths=[1, 2, 2, 2])
    widths = {"stem_dim": 6, "stem_ratio": 1.5, "merge_ratio": 2.5}
    return EvoNet(space, (8, 16, 24, 32), (2, 4, 2, 4), **widths, mixer=mixer)


@pytest.fixture(scope="module")
def family():
    return _family()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("height, width", [(64, 96), (45, 61), (33, 32)])
def test_closed_form_equals_counted(family, seed, height, width):
    _equal(family, seed, height, width)


@pytest.mark.parametrize("seed", range(2))
def test_closed_form_of_walks_equals_their_recurrence(seed):
    with backend.use("reference"):
        _equal(_family("bidirectional"), seed, 45, 61)


def _equal(family, seed, height, width):
    genotype = family.space.sample(np.random.default_rng(seed))
    counted = count(family.build(genotype, 0), torch.zeros(1, 3, height, width))
    assert cost(family, genotype, (height, width)) == Cost(*counted)


def test_counting_a_convolution_and_a_product():
    conv = torch.nn.Conv2d(4, 8, 3, padding=1, groups=2)
    assert count(conv, torch.zeros(1, 4, 5, 6)) == (8 * 2 * 9 + 8, 5 * 6 * 8 * 2 * 9)
    assert count(torch.nn.Linear(3, 7), torch.zeros(2, 3)) == (28, 42)


def test_counting_restores_modes_and_statistics():
    net = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3).eval())
    count(net, torch.ones(1, 3, 4, 4))
    assert net[0].training and not net[1].training
    assert net[0].num_batches_tracked == 0


def test_counting_a_head_runs_on_no_memory():
    levels = [Level(8, 4), Level(16, 8)]
    head = DenseHead(levels, out_channels=2, width=4)
    params, macs = count_head(head, levels, 64, 96)
    fine, coarse = 16 * 24, 8 * 12
    assert params == sum(parameter.numel() for parameter in head.parameters())
    assert macs == fine * (8 * 4 + 9 * 4 + 4 * 4 + 4 * 2) + coarse * 16 * 4
    assert next(head.parameters()).device.type == "cpu"
