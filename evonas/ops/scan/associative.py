"""The selective scan in about 2 log2(L) parallel steps.

Legend: B batch, L tokens, C channels. Suffixes name the axes of a tensor.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def scan(
    x_BLC: Float[Tensor, "B L C"],
    dt_BLC: Float[Tensor, "B L C"],
    a_C: Float[Tensor, " C"],
    b_BL: Float[Tensor, "B L"],
) -> Float[Tensor, "B L C"]:
    """Equals `reference.scan`, for step sizes and rates with non-positive products.

    Steps h -> decay h + u are closed under composition (Blelloch 1990). Decays in [0, 1] are only multiplied, so they
    may underflow to zero but nothing overflows, as it would with quotients of running products or differences of
    running sums of logarithms.
    """
    dtype = torch.promote_types(x_BLC.dtype, torch.float32)
    dt_BLC = dt_BLC.to(dtype)
    decay_BLC = torch.exp(dt_BLC * a_C.to(dtype))
    u_BLC = dt_BLC * b_BL.to(dtype).unsqueeze(-1) * x_BLC.to(dtype)
    states_BLC: Tensor = _Recurrence.apply(decay_BLC, u_BLC)
    return states_BLC.to(x_BLC.dtype)


class _Recurrence(torch.autograd.Function):
    """h_l = decay_l h_(l-1) + u_l; its gradient is the same recurrence in reverse order."""

    @staticmethod
    def forward(ctx: Any, decay_BLC: Tensor, u_BLC: Tensor) -> Tensor:
        h_BLC = _solve(decay_BLC, u_BLC)
        ctx.save_for_backward(decay_BLC, h_BLC)
        return h_BLC

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BLC: Tensor) -> tuple[Tensor, Tensor]:
        decay_BLC, h_BLC = ctx.saved_tensors
        # g_l = grad_l + decay_(l+1) g_(l+1); the decay rolled to the front multiplies the zero initial state
        g_BLC = _solve(decay_BLC.flip(1).roll(1, 1), grad_BLC.flip(1)).flip(1)
        before_BLC = torch.cat([torch.zeros_like(h_BLC[:, :1]), h_BLC[:, :-1]], dim=1)
        return g_BLC * before_BLC, g_BLC


def _solve(decay_BLC: Tensor, u_BLC: Tensor) -> Tensor:
    """Composes pairs of steps, solves the recurrence of half the length, and fills in the tokens between."""
    length = u_BLC.shape[1]
    if length == 1:
        return u_BLC
    pairs, first_decay, first_u = length // 2, decay_BLC[:, ::2], u_BLC[:, ::2]
    second_decay, second_u = decay_BLC[:, 1::2], u_BLC[:, 1::2]
    second_h = _solve(
        second_decay * first_decay[:, :pairs], torch.addcmul(second_u, second_decay, first_u[:, :pairs])
    )
    between = second_h[:, : first_u.shape[1] - 1]
    later_h = torch.addcmul(first_u[:, 1:], first_decay[:, 1:], between)
    first_h = torch.cat([first_u[:, :1], later_h], dim=1)
    woven = torch.stack([first_h[:, :pairs], second_h], dim=2).flatten(1, 2)
    return woven if length % 2 == 0 else torch.cat([woven, first_h[:, pairs:]], dim=1)
