"""The selective scan by Triton's kernels: parts of the tokens walk side by side, see `kernels/`.

Legend: B batch, L tokens, C channels. Suffixes name the axes of a tensor.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from evonas.ops import triton
from evonas.ops.native import gapless


def scan(
    x_BLC: Float[Tensor, "B L C"],
    dt_BLC: Float[Tensor, "B L C"],
    a_C: Float[Tensor, " C"],
    b_BL: Float[Tensor, "B L"],
) -> Float[Tensor, "B L C"]:
    """What `reference.scan` computes; on a GPU alone (`triton.is_usable`)."""
    result: Tensor = _Scan.apply(x_BLC, dt_BLC, a_C, b_BL)
    return result


class _Scan(torch.autograd.Function):
    """Keeps the states as they were answered, which whoever reads them keeps anyway."""

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
