"""Gradients that contradict one another: projections worked out by hand, and agreement that is left alone."""

import pytest
import torch

from evonas.errors import UserError
from evonas.train.module import gradient_cosines
from evonas.train.optim.gradient_merge import Merge, MonitoredSum, NasVit, PcGrad, cosines, inner, summed
from evonas.train.optim.gradients import put, taken

FIRST, SECOND = [torch.tensor([1.0, 0.0])], [torch.tensor([-1.0, 1.0])]


def test_cosines_over_what_both_have() -> None:
    third = [torch.tensor([0.0, 2.0]), torch.tensor([5.0])]
    parts = [[*FIRST, None], [*SECOND, torch.tensor([1.0])], third]
    found = cosines(parts)
    assert found[0, 1] == pytest.approx(-(0.5**0.5), rel=1e-6)
    assert found[0, 2] == 0.0
    assert found[1, 2] == pytest.approx(7 / (3 * 29) ** 0.5, rel=1e-6)
    assert cosines([[None], FIRST])[0, 1] == 0.0


def test_pcgrad_worked_out_by_hand() -> None:
    # <a, b> = -1: a loses -1/2 b, b loses -1 a, and both were compared as they were
    merged = PcGrad().combine([FIRST, SECOND], 0.0, seed=0)
    assert merged[0] is not None and merged[0].tolist() == [0.5 + 0.0, 0.5 + 1.0]
    cleared = torch.tensor([0.5, 0.5])
    assert float(cleared @ SECOND[0]) == 0.0


def test_nasvit_worked_out_by_hand() -> None:
    # m = a, s = b: a = 1/2, g = 1.5 b + a, and <g, b> = |b|^2 = 2
    (merged,) = NasVit(after=0.0).combine([FIRST, SECOND], 0.0, seed=0)
    assert merged is not None and merged.tolist() == [-0.5, 1.5]
    assert float(merged @ SECOND[0]) == 2.0
    # a is at most 2, however strong the contradiction is
    (strong,) = NasVit(after=0.0).combine([[-100 * SECOND[0]], SECOND], 0.0, seed=0)
    assert strong is not None and torch.equal(strong, -97 * SECOND[0])


@pytest.mark.parametrize(
    "merge", [MonitoredSum(), NasVit(after=0.0), PcGrad()], ids=lambda each: type(each).__name__
)
def test_agreement_is_summed(merge: Merge) -> None:
    parts = [[torch.tensor([1.0, 0.0]), None], [torch.tensor([1.0, 1.0]), torch.tensor([2.0])]]
    merged = merge.combine(parts, 0.5, seed=0)
    assert [None if each is None else each.tolist() for each in merged] == [[2.0, 1.0], [2.0]]


def test_nasvit_waits() -> None:
    merge = NasVit(after=0.25)
    assert torch.equal(merge.combine([FIRST, SECOND], 0.2, 0)[0], torch.tensor([0.0, 1.0]))
    assert not torch.equal(merge.combine([FIRST, SECOND], 0.25, 0)[0], torch.tensor([0.0, 1.0]))
    with pytest.raises(UserError, match="got 2"):
        NasVit(after=2)


def test_projection_raises_the_cosine_of_what_is_merged() -> None:
    """On constructed conflicts no part stands against the merged gradient, unlike the plain sum."""
    torch.manual_seed(0)
    shared = torch.randn(8)
    parts = [[-3 * shared + 0.5 * torch.randn(8)], [shared + 0.5 * torch.randn(8)]]
    plain, cleared = summed(parts), PcGrad().combine(parts, 0.0, seed=1)
    assert min(float(inner(part, plain)) for part in parts) < 0
    assert min(float(inner(part, cleared)) for part in parts) >= -1e-5


def test_the_order_follows_the_seed() -> None:
    torch.manual_seed(1)
    parts = [[torch.randn(3)] for _ in range(4)]
    merged = [PcGrad().combine(parts, 0.0, seed)[0] for seed in (0, 0, 1, 2, 3)]
    assert torch.equal(merged[0], merged[1])
    assert any(not torch.equal(merged[0], other) for other in merged[2:])


def test_gradients_are_taken_and_put_back() -> None:
    layer = torch.nn.Linear(2, 1)
    layer(torch.ones(1, 2)).sum().backward()
    found = taken(layer.parameters())
    assert all(parameter.grad is None for parameter in layer.parameters())
    put(layer.parameters(), found)
    assert layer.weight.grad is found[0] and layer.bias.grad is not None


def test_the_nearest_and_the_farthest_pair_are_noted() -> None:
    found = gradient_cosines(
        {(0, 1): 0.1, (0, 2): 0.2, (1, 2): 0.3}, [1_000_000_000, 4_000_000_000, 2_000_000_000]
    )
    assert found == {"cosine_near": 0.2, "gap_near": 1.0, "cosine_far": 0.1, "gap_far": 3.0}
