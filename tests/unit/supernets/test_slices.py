"""Slices of shared tensors, and modules bound to them."""

import pytest
import torch
from torch import nn

from evonas.errors import UserError
from evonas.nn.initialise import initialise
from evonas.supernets.base import Cut
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.slices import bind, bound, cut


def test_a_cut_takes_its_pieces_in_order():
    rows = torch.arange(10)
    assert cut(rows, [Cut(0, ((0, 2), (4, 3), (7, 1)))]).tolist() == [0, 1, 4, 5, 6, 7]
    assert cut(rows, []) is rows
    table = torch.arange(12).view(3, 4)
    assert cut(table, [Cut(0, ((0, 2),)), Cut(1, ((1, 2),))]).tolist() == [[1, 2], [5, 6]]


def test_a_slice_is_contiguous_and_a_view_where_it_can_be():
    table = torch.zeros(4, 4)
    rows, columns = cut(table, [Cut(0, ((0, 2),))]), cut(table, [Cut(1, ((0, 2),))])
    assert rows.is_contiguous() and columns.is_contiguous()
    assert rows.data_ptr() == table.data_ptr() != columns.data_ptr()


def test_gradients_are_added_into_the_shared_ones_and_reach_used_weights_only():
    layer = nn.Linear(4, 6)
    initialise(layer, 0)
    pieces = (Cut(0, ((0, 1), (3, 2))),)
    for repeat in (1, 2):
        part = bound(layer, {"weight": (*pieces, Cut(1, ((0, 2),))), "bias": pieces})
        part(torch.ones(1, 2)).sum().backward()
        used = layer.weight.grad != 0
        assert used[[0, 3, 4], :2].all() and used.sum() == 6
        assert layer.weight.grad.sum() == 6 * repeat and layer.bias.grad.tolist() == [
            repeat,
            0,
            0,
            repeat,
            repeat,
            0,
        ]


def test_without_gradients_slices_have_none():
    layer = nn.Linear(4, 6)
    for given, is_grad in ((layer, False), (layer.requires_grad_(False), True)):
        with torch.set_grad_enabled(is_grad):
            part = bound(given, {"weight": (Cut(0, ((0, 2),)),)})
            assert not part.weight.requires_grad and part.weight.shape == (2, 4)


def test_running_statistics_of_a_slice_move_the_shared_ones():
    norm = nn.BatchNorm2d(4)
    first = (Cut(0, ((0, 2),)),)
    part = bound(norm, dict.fromkeys(("weight", "bias", "running_mean", "running_var"), first))
    part(torch.full((2, 2, 3, 3), 5.0))
    assert norm.running_mean.tolist() == pytest.approx([0.5, 0.5, 0, 0]) and norm.num_batches_tracked == 1


def test_modules_are_left_out_or_shared_whole_and_the_original_stays():
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 2))
    made = bound(net, {"0.bias": (Cut(0, ((0, 1),)),)}, {"1.1"})
    assert made[0].bias.shape == (1,) and len(made[1]) == 1 and made[2] is net[2]
    assert made[1][0] is net[1][0] and made[0].weight is net[0].weight
    assert net[0].bias.shape == (2,) and len(net[1]) == 2


def _head_of(family, backbone, genotype, channel, monkeypatch):
    """The head that a stored channel works in, or None where the subnet does not have it."""
    seen = []
    monkeypatch.setattr("evonas.supernets.evonet.mixers.ssd", lambda x, *_: seen.append(x) or x)
    weight = backbone.stages[0].blocks["0"].mixer.token_proj.weight
    with torch.no_grad():
        for step in (0.0, 1.0):
            weight[channel] += step
            bind(family, backbone, genotype).stages[0].blocks["0"].mixer(torch.ones(1, 3, 3, 4))
        weight[channel] -= 1
    changed = (seen[1] - seen[0]).abs().sum(dim=(0, 1, 3)).nonzero().flatten().tolist()
    return changed[0] if changed else None


def test_a_channel_keeps_its_head_where_wanted(monkeypatch):
    found, space = {}, evonet_space(expand=[0.5, 1, 2], d_state=[2], mlp_ratio=[1], depths=[1, 1])
    for slicing in ("prefix", "per_head"):
        family = EvoNet(space, (4, 4), (2, 2), stem_dim=4, width_slicing=slicing)
        backbone = family.build(None, 0)
        for expand in (2, 1, 0.5):
            genotype = space.encode({**space.decode(space.largest()), "e1": expand})
            heads = [_head_of(family, backbone, genotype, each, monkeypatch) for each in range(8)]
            found[slicing, int(4 * expand)] = heads
    assert found["per_head", 8] == found["prefix", 8] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert found["per_head", 4] == [0, 0, None, None, 1, 1, None, None]
    assert found["per_head", 2] == [0, None, None, None, 1, None, None, None]
    assert found["prefix", 4] == [0, 0, 1, 1, None, None, None, None]


@pytest.mark.parametrize("is_largest", [True, False])
def test_slicings_share_their_layout_and_differ_below_the_largest(is_largest):
    space = evonet_space(expand=[1, 2], d_state=[4], mlp_ratio=[1], depths=[1, 1])
    genotype, x = space.largest() if is_largest else space.smallest(), torch.ones(1, 3, 32, 32)
    families = [
        EvoNet(space, (8, 16), (2, 2), stem_dim=4, width_slicing=each) for each in ("prefix", "per_head")
    ]
    shared = families[0].build(None, 0).eval()
    outputs = [bind(family, shared, genotype)(x)[-1] for family in families]
    assert torch.equal(*outputs) == is_largest


def test_an_unknown_slicing_is_refused():
    with pytest.raises(UserError, match="width_slicing=suffix"):
        EvoNet(evonet_space(depths=[1]), (8,), (2,), width_slicing="suffix")
