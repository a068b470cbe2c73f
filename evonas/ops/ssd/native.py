"""Non-causal state space duality by a compiled kernel, whose states stay in the first-level cache.

Legend: B batch, L tokens, N heads, P head dim, I = N P, S state. Suffixes name the axes of a tensor.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from evonas.ops import native


def ssd(*operands: Tensor) -> Tensor:
    """Equals `reference.ssd`; needs float32 on the CPU (`native.is_usable`)."""
    result: Tensor = _SSD.apply(*operands)
    return result


class _SSD(torch.autograd.Function):
    """A kernel in the forward pass; torch products in the backward pass, which recomputes the state."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        ctx.save_for_backward(x, a, b, c, d)
        (batch, tokens, heads, width), states = x.shape, b.shape[-1]
        values, keys, queries = (native.rows(each) for each in (x.flatten(2), b, c))
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        tensors = (values, native.gapless(a), keys, queries, native.gapless(d), y)
        strides = (values.stride(1), keys.stride(1), queries.stride(1))
        native.call("evonas_ssd", tensors, (batch, tokens, heads, width, states, *strides))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, ...]:
        x, a, b, c, d = ctx.saved_tensors
        weighted, of_y = (x * a.unsqueeze(-1)).flatten(2), slope.flatten(2)
        state, of_state = b.transpose(1, 2) @ weighted, c.transpose(1, 2) @ of_y
        of_weighted = (b @ of_state).view_as(x)
        of_x = torch.addcmul(slope * d.unsqueeze(-1), of_weighted, a.unsqueeze(-1))
        of_a, of_d = (of_weighted * x).sum(dim=-1), (slope * x).sum(dim=(0, 1, 3))
        return of_x, of_a, weighted @ of_state.transpose(1, 2), of_y @ state.transpose(1, 2), of_d
