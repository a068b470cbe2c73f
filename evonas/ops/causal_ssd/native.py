"""Causal state space duality by a compiled kernel, in one pass over the tokens.

Legend: B batch, L tokens, N heads, P head dim, S state. Suffixes name axes.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from evonas.ops import native


def causal_ssd(*operands: Tensor) -> Tensor:
    """Equals `reference.causal_ssd`; needs float32 on the CPU (`native.is_usable`)."""
    result: Tensor = _CausalSSD.apply(*operands)
    return result


class _CausalSSD(torch.autograd.Function):
    """Saves no states; the backward pass recomputes them for a tile of tokens at a time."""

    @staticmethod
    def forward(ctx: Any, *operands: Tensor) -> Tensor:
        given = tuple(native.gapless(each) for each in operands)
        y_BLNP = torch.empty_like(given[0])
        native.call("evonas_causal_ssd", (*given, y_BLNP), (*y_BLNP.shape, given[3].shape[-1]))
        ctx.save_for_backward(*given)
        return y_BLNP

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_BLNP: Tensor) -> tuple[Tensor, ...]:
        given, slope_BLNP = ctx.saved_tensors, native.gapless(slope_BLNP)
        (batch, tokens, heads, width), states = slope_BLNP.shape, given[3].shape[-1]
        blocks = native.library().evonas_causal_ssd_blocks(width)
        of_x, of_dt = torch.empty_like(slope_BLNP), slope_BLNP.new_empty(batch, blocks, tokens, heads)
        of_a, of_d = (slope_BLNP.new_empty(batch, blocks, heads) for _ in range(2))
        of_b, of_c = (slope_BLNP.new_empty(batch, blocks, heads, tokens, states) for _ in range(2))
        tensors = (*given, slope_BLNP, of_x, of_dt, of_a, of_b, of_c, of_d)
        native.call("evonas_causal_ssd_backward", tensors, (batch, tokens, heads, width, states))
        each_head, all_heads = [each.sum(dim=(0, 1)) for each in (of_a, of_d)], (of_b, of_c)
        of_b, of_c = (each.sum(dim=(1, 2)) for each in all_heads)
        return of_x, of_dt.sum(dim=1), each_head[0], of_b, of_c, each_head[1]
