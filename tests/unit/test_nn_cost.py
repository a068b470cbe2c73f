"""Closed forms against networks that were counted while they ran."""

import numpy as np
import pytest
import torch

from evonas.nn.backbone import Backbone
from evonas.supernets.evonet.cost import count_macs, count_params
from evonas.nn.count import count, count_head
from evonas.supernets.extract import static_net
from evonas.nn.heads import DenseHead
from evonas.nn.level import Level
from evonas.ops import backend
from evonas.supernets.evonet.space import architecture, evonet_space


def _backbone(mixer="noncausal"):
    space = evonet_space(expand=[0.5, 1, 2], d_state=[4, 6], mlp_ratio=[0.5, 1.7, 3], depths=[1, 2, 2, 2])
    widths = {"stem_dim": 6, "stem_ratio": 1.5, "merge_ratio": 2.5}
    return Backbone(space, (8, 16, 24, 32), (2, 4, 2, 4), **widths, mixer=mixer)


@pytest.fixture(scope="module")
def backbone():
    return _backbone()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("height, width", [(64, 96), (45, 61), (33, 32)])
def test_closed_form_equals_counted(backbone, seed, height, width):
    _equal(backbone, seed, height, width)


@pytest.mark.parametrize("seed", range(2))
def test_closed_form_of_walks_equals_their_recurrence(seed):
    with backend.use("reference"):
        _equal(_backbone("bidirectional"), seed, 45, 61)


def _equal(backbone, seed, height, width):
    genotype = backbone.space.sample(np.random.default_rng(seed))
    choice = architecture(backbone.space, genotype)
    network = static_net(backbone, torch.nn.Identity(), genotype).backbone
    params, macs = count(network, torch.zeros(1, 3, height, width), choice)
    assert count_params(choice, backbone.shape) == params
    assert count_macs(choice, backbone.shape, height, width) == macs


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
