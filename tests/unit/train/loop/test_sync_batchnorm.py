"""Batch norms of any class share their statistics among ranks."""

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from evonas.train.loop import sync_batchnorm
from evonas.train.loop.sync_batchnorm import SyncedNorm, synchronise


class Halved(nn.BatchNorm2d):
    """A class of somebody's own that does more than normalise."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) / 2


@pytest.fixture
def two_equal_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second rank that sees the same images: sums over ranks are twice the own, and means stay."""
    monkeypatch.setattr(sync_batchnorm, "world_size", lambda: 2)
    monkeypatch.setattr(sync_batchnorm._AllReduceSum, "apply", staticmethod(lambda value: 2 * value))


@pytest.mark.usefixtures("two_equal_ranks")
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.BatchNorm2d(3), (4, 3, 5, 6)),
        (lambda: nn.BatchNorm1d(3), (8, 3)),
        (lambda: nn.BatchNorm1d(3, affine=False), (8, 3, 7)),
        (lambda: nn.BatchNorm3d(3, momentum=None), (4, 3, 2, 3, 4)),
        (lambda: BatchNormAct2d(3), (4, 3, 5, 6)),
        (lambda: Halved(3), (4, 3, 5, 6)),
    ],
    ids=["2d", "1d", "1d without affine", "3d, plain average", "timm, with activation", "own class"],
)
def test_equal_ranks_normalise_as_one(make, shape):  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    alone, shared = make(), make()
    if alone.affine:
        with torch.no_grad():
            alone.weight.uniform_(0.5, 2)
            alone.bias.uniform_(-1, 1)
    shared.load_state_dict(alone.state_dict())
    net = nn.Sequential(shared)
    synchronise(net)
    assert isinstance(net[0], SyncedNorm) and net[0] is shared
    assert list(net[0].state_dict()) == list(alone.state_dict())
    x, y = (torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    expected, found = alone(x), net(y)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(shared.running_mean, alone.running_mean)
    # twice the images have another unbiased variance
    count = x.numel() // x.shape[1]
    before, factor = 1.0, 0.1 if alone.momentum else 1.0
    biased = (alone.running_var - (1 - factor) * before) / factor * (count - 1) / count
    expected_var = (1 - factor) * before + factor * biased * 2 * count / (2 * count - 1)
    torch.testing.assert_close(shared.running_var, expected_var, rtol=1e-4, atol=1e-5)
    expected.square().sum().backward()
    found.square().sum().backward()
    torch.testing.assert_close(y.grad, x.grad, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(net.eval()(y), alone.eval()(x), rtol=0.2, atol=0.2)
