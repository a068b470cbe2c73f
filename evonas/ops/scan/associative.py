"""The selective scan in about 2 log2(L) steps over all tokens at once.

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
    """What `reference.scan` computes, for step sizes and rates whose product is never positive.

    Steps h -> decay h + u compose to steps of the same form (Blelloch 1990). Decays are only ever
    multiplied, and lie in [0, 1]: a strong or long decay becomes zero, and nothing can overflow,
    while dividing by a running product or subtracting running sums of logarithms would.
    """
    dtype = torch.promote_types(x_BLC.dtype, torch.float32)
    dt_BLC = dt_BLC.to(dtype)
    decay_BLC = torch.exp(dt_BLC * a_C.to(dtype))
    u_BLC = dt_BLC * b_BL.to(dtype).unsqueeze(-1) * x_BLC.to(dtype)
    states_BLC: Tensor = _Recurrence.apply(decay_BLC, u_BLC)
    return states_BLC.to(x_BLC.dtype)


class _Recurrence(torch.autograd.Function):
    """h_l = decay_l h_(l-1) + u_l; its gradient is the same recurrence from the other end."""

    @staticmethod
    def forward(ctx: Any, decay_BLC: Tensor, u_BLC: Tensor) -> Tensor:
        h_BLC = _solve(decay_BLC, u_BLC)
        ctx.save_for_backward(decay_BLC, h_BLC)
        return h_BLC

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BLC: Tensor) -> tuple[Tensor, Tensor]:
        decay_BLC, h_BLC = ctx.saved_tensors
        # g_l = grad_l + decay_(l+1) g_(l+1); the decay that rolls to the front meets a state of zero
        g_BLC = _solve(decay_BLC.flip(1).roll(1, 1), grad_BLC.flip(1)).flip(1)
        before_BLC = torch.cat([torch.zeros_like(h_BLC[:, :1]), h_BLC[:, :-1]], dim=1)
        return g_BLC * before_BLC, g_BLC


def _solve(decay_BLC: Tensor, u_BLC: Tensor) -> Tensor:
    """Join tokens two by two, solve the half as long recurrence, and fill in the tokens between."""
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
