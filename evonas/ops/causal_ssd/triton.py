"""Causal state space duality by Triton's kernels, on a GPU where `make kernels` has installed them.

Legend: B batch, L tokens, N heads, P head dim, S state. Suffixes name the axes of a tensor.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from evonas.ops import triton
from evonas.ops.native import gapless

# the widest head and state whose tiles fit the registers and the shared memory of a program
WIDEST = 64


def is_usable(x_BLNP: Tensor, dt_BLN: Tensor, a_N: Tensor, b_BLS: Tensor, c_BLS: Tensor, d_N: Tensor) -> bool:
    """Whether the kernels can take these operands now: x, b and c are of one type and fit."""
    operands = (x_BLNP, dt_BLN, a_N, b_BLS, c_BLS, d_N)
    fits = max(x_BLNP.shape[-1], b_BLS.shape[-1]) <= WIDEST and not triton.wants_single_slopes(*operands)
    alike = x_BLNP.dtype is b_BLS.dtype is c_BLS.dtype
    return fits and alike and triton.is_usable(*operands)


def causal_ssd(
    x_BLNP: Float[Tensor, "B L N P"],
    dt_BLN: Float[Tensor, "B L N"],
    a_N: Float[Tensor, " N"],
    b_BLS: Float[Tensor, "B L S"],
    c_BLS: Float[Tensor, "B L S"],
    d_N: Float[Tensor, " N"],
) -> Float[Tensor, "B L N P"]:
    """What `reference.causal_ssd` computes; on a GPU alone (`is_usable`)."""
    result: Tensor = _CausalSSD.apply(x_BLNP, dt_BLN, a_N, b_BLS, c_BLS, d_N)
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
