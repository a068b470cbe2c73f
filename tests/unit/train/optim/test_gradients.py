"""Clipping of gradients, with and without a loss scale."""

import pytest
import torch
from torch import nn

from evonas.train.optim.gradients import ClipMode, clip

WEIGHT = torch.tensor([[3.0, 4.0], [0.0, 0.5]])
GRADIENT = torch.tensor([[6.0, -8.0], [0.0, 0.03]])


def clipped(limit: float, mode: ClipMode, scale: float) -> torch.Tensor:
    weight, unused = nn.Parameter(WEIGHT.clone()), nn.Parameter(torch.ones(3))
    weight.grad = GRADIENT * scale
    clip([weight, unused], limit, scale, mode)
    assert weight.grad is not None and unused.grad is None
    return weight.grad / scale


@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_three_ways_to_clip(scale: float) -> None:
    near = torch.testing.assert_close
    near(clipped(2.0, "norm", scale), GRADIENT * 2 / GRADIENT.norm(), atol=1e-5, rtol=1e-4)
    near(clipped(2.0, "value", scale), torch.tensor([[2.0, -2.0], [0.0, 0.03]]))
    # rows are units: |w| = 5 allows 0.1 * 5 of a gradient of norm 10; the second stays below 0.1 * 0.5
    near(clipped(0.1, "agc", scale), torch.tensor([[0.3, -0.4], [0.0, 0.03]]))
    near(clipped(0.0, "value", scale), GRADIENT)


def test_an_infinite_scale_is_left_to_the_scaler() -> None:
    weight = nn.Parameter(WEIGHT.clone())
    weight.grad = GRADIENT.clone()
    clip([weight], 1.0, float("inf"), "value")
    assert torch.equal(weight.grad, GRADIENT)
