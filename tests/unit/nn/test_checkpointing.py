"""Activations that are computed again: less is kept, and nothing else changes."""

import pytest
import small_supernet
import torch
from small_stages import composed
from torch.autograd.graph import saved_tensors_hooks

from evonas.nn.checkpointing import checkpointed, recomputing
from evonas.stages.build import factory
from evonas.train.fit import Devices, fit
from evonas.train.loop.data import TrainingData

pytestmark = pytest.mark.usefixtures("one_thread")


def _kept(is_wanted: bool) -> int:
    """Numbers that the largest subnet keeps for its gradients."""
    net, kept = small_supernet.supernet().train(), []
    with recomputing(is_wanted), saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        net(torch.ones(2, 3, 64, 64), net.space.largest())
    return sum(kept)


def test_blocks_keep_what_enters_them_alone() -> None:
    with_blocks, without = _kept(False), _kept(True)
    assert without < 0.5 * with_blocks


def test_a_training_is_the_same_to_the_last_bit() -> None:
    """Also where blocks are dropped at random."""
    states = []
    for recompute in (False, True):
        module = small_supernet.module("sandwich", 2)
        data = TrainingData(small_supernet.task().dataset("train"), 4, 0, 0)
        fit(module, data, 1, Devices(recompute=recompute))
        states.append(small_supernet.state(module.supernet))
    assert all(torch.equal(states[0][name], tensor) for name, tensor in states[1].items())


def test_nothing_is_computed_again_without_gradients() -> None:
    calls = []
    with recomputing(), torch.no_grad():
        checkpointed(lambda x: calls.append(x) or x * 2, torch.ones(2, requires_grad=True))
    with recomputing():
        checkpointed(lambda x: calls.append(x) or x**2, torch.ones(2, requires_grad=True)).sum().backward()
    assert len(calls) == 3


def test_the_word_reaches_the_training() -> None:
    assert factory.devices(composed("hardware.activation_checkpointing=true")) == Devices(recompute=True)
