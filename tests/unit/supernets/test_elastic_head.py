"""Heads of networks whose levels lost channels: bound, with weights of their own, and rebuilt from an export."""

import pytest
import torch

from evonas.nn.classifier import Classifier
from evonas.nn.expanded_classifier import ExpandedClassifier
from evonas.nn.fcn_head import FCNHead
from evonas.nn.heads import DenseHead
from evonas.nn.level import Level
from evonas.supernets.base import LevelChannels
from evonas.supernets.elastic_head import own_head, subnet_head

pytestmark = pytest.mark.usefixtures("one_thread")
LEVELS = (Level(12, 4), Level(320, 8))
# not the first ones, and more than half
PIECES = (((0, 2), (6, 4)), ((0, 288),))
FILLED = (6, 288)


def _levels(channels):
    return [Level(count, level.stride) for count, level in zip(channels, LEVELS, strict=True)]


@pytest.mark.parametrize(
    "make",
    [
        lambda levels, **more: DenseHead(levels, 3, width=8, **more),
        lambda levels, **more: FCNHead(levels, **({"out_channels": 3} | more)),
        lambda levels, **more: FCNHead(levels, **({"out_channels": 3, "side_weight": 0.0} | more)),
        lambda levels, **more: Classifier(levels, **({"out_channels": 3} | more)),
        lambda levels, **more: Classifier(levels, **({"out_channels": 3, "norm": True} | more)),
        lambda levels, **more: ExpandedClassifier(
            levels, **({"out_channels": 3, "mix": 16, "expand": 2} | more)
        ),
    ],
    ids=["light", "fcn", "fcn_alone", "classifier", "classifier_norm", "elasticvit"],
)
@pytest.mark.parametrize("training", [False, True])
def test_a_narrower_head_reads_the_channels_that_are_left(make, training):
    torch.manual_seed(0)
    head = make(LEVELS).train(training)
    channels = LevelChannels(FILLED, PIECES)
    maps = [torch.randn(2, count, side, side) for count, side in zip(FILLED, (8, 4), strict=True)]

    def answer(net):
        torch.manual_seed(1)
        output = net(maps)
        return [output] if isinstance(output, torch.Tensor) else [output.main, *output.auxiliary]

    bound = subnet_head(head, channels)
    own = own_head(head, channels)
    settings = getattr(own, "settings", {})
    again = make(_levels(FILLED), **settings).train(training)
    again.load_state_dict(own.state_dict())
    wanted = answer(bound)
    assert all(map(torch.equal, answer(own), wanted))
    again.load_state_dict(own_head(head, channels).state_dict())
    assert all(map(torch.equal, answer(again), wanted))
    # all channels, with zeros where some are missing, are another input of the whole head with equal answers
    if not training and not isinstance(head, ExpandedClassifier) and not getattr(head, "norm", None):
        whole = [
            torch.zeros(2, level.channels, *each.shape[2:]) for level, each in zip(LEVELS, maps, strict=True)
        ]
        for padded, each, pieces in zip(whole, maps, PIECES, strict=True):
            padded[:, [start + at for start, length in pieces for at in range(length)]] = each
        assert torch.allclose(head(whole), wanted[0], rtol=1e-4, atol=1e-5)


def test_sizes_that_layers_keep_are_those_of_their_weights():
    channels = LevelChannels(FILLED, PIECES)
    classifier = own_head(Classifier(LEVELS, 3, norm=True), channels)
    assert classifier.norm.normalized_shape == (288,) and classifier.linear.in_features == 288
    light = own_head(DenseHead(LEVELS, 3), channels)
    assert [each.in_channels for each in light.laterals] == [6, 288]


def test_a_head_of_levels_with_all_channels_is_the_shared_one():
    head = DenseHead(LEVELS, 3)
    assert subnet_head(head, LevelChannels((12, 320))) is head
    assert subnet_head(head, LevelChannels((6, 288))) is head
