"""The selective scan by a compiled kernel, in one pass over the tokens with states in registers.

Legend: B batch, L tokens, C channels, K blocks of channels. Suffixes name the axes of a tensor.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from evonas.ops import native


def scan(*operands: Tensor) -> Tensor:
    """Equals `reference.scan`; needs float32 on the CPU (`native.is_usable`)."""
    result: Tensor = _Scan.apply(*operands)
    return result


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *operands: Tensor) -> Tensor:
        given = tuple(native.gapless(each) for each in operands)
        h_BLC = torch.empty_like(given[0])
        native.call("evonas_scan", (*given, h_BLC), tuple(h_BLC.shape))
        ctx.save_for_backward(*given, h_BLC)
        return h_BLC

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_BLC: Tensor) -> tuple[Tensor, ...]:
        *given, h_BLC = ctx.saved_tensors
        batch, tokens, channels = h_BLC.shape
        of_x, of_dt = torch.empty_like(h_BLC), torch.empty_like(h_BLC)
        of_a_BC = h_BLC.new_empty(batch, channels)
        of_b_BKL = h_BLC.new_empty(batch, native.library().evonas_scan_blocks(channels), tokens)
        made = (of_x, of_dt, of_a_BC, of_b_BKL)
        tensors = (*given, h_BLC, native.gapless(slope_BLC), *made)
        native.call("evonas_scan_backward", tensors, (batch, tokens, channels))
        return of_x, of_dt, of_a_BC.sum(dim=0), of_b_BKL.sum(dim=1)
