"""Non-causal state space duality by Triton kernels, on a GPU.

Legend: B batch, L tokens, N heads, P head dim, S state. Suffixes name the axes of a tensor.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from evonas.ops import triton
from evonas.ops.native import gapless

# maximum head and state dimension whose tiles fit into registers and shared memory of a program
WIDEST = 128


def is_usable(x_BLNP: Tensor, a_BLN: Tensor, b_BLS: Tensor, *others: Tensor) -> bool:
    """Whether the kernels support these operands: all have one dtype, and heads and states fit."""
    operands = (x_BLNP, a_BLN, b_BLS, *others)
    fits = max(x_BLNP.shape[-1], b_BLS.shape[-1]) <= WIDEST and not triton.needs_float32_gradients(*operands)
    return fits and all(each.dtype is x_BLNP.dtype for each in operands) and triton.is_usable(*operands)


def ssd(*operands: Tensor) -> Tensor:
    """Equals `reference.ssd` for operands of one dtype, with sums in float32 (`is_usable`)."""
    result: Tensor = _SSD.apply(*operands)
    return result


class _SSD(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *operands: Tensor) -> Tensor:
        given = tuple(gapless(each) for each in operands)
        ctx.save_for_backward(*given)
        result: Tensor = triton.call("ssd.forward", *given)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_BLNP: Tensor) -> tuple[Tensor, ...]:
        slopes: tuple[Tensor, ...] = triton.call("ssd.backward", *ctx.saved_tensors, gapless(slope_BLNP))
        return slopes
