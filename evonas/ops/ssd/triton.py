"""Non-causal state space duality by Triton's kernels, on a GPU where `make kernels` has installed them.

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
WIDEST = 128


def is_usable(x_BLNP: Tensor, a_BLN: Tensor, b_BLS: Tensor, *others: Tensor) -> bool:
    """Whether the kernels can take these operands now: all are of one type, and heads and states fit."""
    operands = (x_BLNP, a_BLN, b_BLS, *others)
    fits = max(x_BLNP.shape[-1], b_BLS.shape[-1]) <= WIDEST and not triton.wants_single_slopes(*operands)
    return fits and all(each.dtype is x_BLNP.dtype for each in operands) and triton.is_usable(*operands)


def ssd(
    x_BLNP: Float[Tensor, "B L N P"],
    a_BLN: Float[Tensor, "B L N"],
    b_BLS: Float[Tensor, "B L S"],
    c_BLS: Float[Tensor, "B L S"],
    d_N: Float[Tensor, " N"],
) -> Float[Tensor, "B L N P"]:
    """What `reference.ssd` computes; operands of one type, sums in float32."""
    result: Tensor = _SSD.apply(x_BLNP, a_BLN, b_BLS, c_BLS, d_N)
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
