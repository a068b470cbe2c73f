"""Causal state space duality by Triton kernels, on a GPU.

Legend: B batch, L tokens, N heads, P head dim, S state. Suffixes name the axes of a tensor.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from evonas.ops import triton
from evonas.ops.native import gapless

# maximum head and state dimension whose tiles fit into registers and shared memory of a program
WIDEST = 64


def is_usable(x_BLNP: Tensor, dt_BLN: Tensor, a_N: Tensor, b_BLS: Tensor, c_BLS: Tensor, d_N: Tensor) -> bool:
    """Whether the kernels support these operands: x, b and c have one dtype, and heads and states fit."""
    operands = (x_BLNP, dt_BLN, a_N, b_BLS, c_BLS, d_N)
    fits = max(x_BLNP.shape[-1], b_BLS.shape[-1]) <= WIDEST and not triton.needs_float32_gradients(*operands)
    alike = x_BLNP.dtype is b_BLS.dtype is c_BLS.dtype
    return fits and alike and triton.is_usable(*operands)


def causal_ssd(*operands: Tensor) -> Tensor:
    """Equals `reference.causal_ssd`; needs a GPU (`is_usable`)."""
    result: Tensor = _CausalSSD.apply(*operands)
    return result


class _CausalSSD(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *operands: Tensor) -> Tensor:
        given = tuple(gapless(each) for each in operands)
        ctx.save_for_backward(*given)
        result: Tensor = triton.call("causal_ssd.forward", *given)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_BLNP: Tensor) -> tuple[Tensor, ...]:
        given, slope_BLNP = ctx.saved_tensors, gapless(slope_BLNP)
        slopes: tuple[Tensor, ...] = triton.call("causal_ssd.backward", *given, slope_BLNP)
        return slopes
