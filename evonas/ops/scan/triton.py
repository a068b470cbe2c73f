"""The selective scan by Triton kernels, which process segments of the tokens in parallel (see `kernels/`).

Legend: B batch, L tokens, C channels. Suffixes name the axes of a tensor.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from evonas.ops import triton
from evonas.ops.native import gapless


def scan(*operands: Tensor) -> Tensor:
    """Equals `reference.scan`; needs a GPU (`triton.is_usable`)."""
    result: Tensor = _Scan.apply(*operands)
    return result


class _Scan(torch.autograd.Function):
    """Saves the output states for the backward pass; its consumers save them in any case."""

    @staticmethod
    def forward(ctx: Any, *operands: Tensor) -> Tensor:
        given = tuple(gapless(each) for each in operands)
        h_BLC: Tensor = triton.call("scan.forward", *given)
        ctx.save_for_backward(*given, h_BLC)
        return h_BLC

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_BLC: Tensor) -> tuple[Tensor, ...]:
        slopes: tuple[Tensor, ...] = triton.call("scan.backward", *ctx.saved_tensors, gapless(slope_BLC))
        return slopes
