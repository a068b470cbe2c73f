"""The dilated convolutions as one pass of 25 taps by Triton kernels, in channels-last layout.

Legend: B batch, C channels, H W space, K dilations, T taps. Suffixes name the axes of a tensor.
"""

from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from evonas.ops import triton
from evonas.ops.dilated.reference import tap_offsets, tap_weights
from evonas.ops.native import gapless


def dilated(
    x_BCHW: Float[Tensor, "B C H W"],
    kernels_KC33: Float[Tensor, "K C 3 3"],
    alpha_K: Float[Tensor, " K"],
) -> Float[Tensor, "B C H W"]:
    """Equals `reference.dilated`; needs a GPU (`triton.is_usable`)."""
    taps_TC = tap_weights(kernels_KC33, alpha_K)
    y_BHWC: Tensor = _Dilated.apply(x_BCHW.permute(0, 2, 3, 1), taps_TC)
    return y_BHWC.permute(0, 3, 1, 2)


class _Dilated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BHWC: Tensor, taps_TC: Tensor) -> Tensor:
        given = (gapless(x_BHWC), gapless(taps_TC))
        ctx.save_for_backward(*given)
        y_BHWC: Tensor = triton.call("dilated.forward", *given, _offsets(x_BHWC.device))
        return y_BHWC

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_BHWC: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x_BHWC, taps_TC = ctx.saved_tensors
        given = (x_BHWC, taps_TC, _offsets(x_BHWC.device), gapless(slope_BHWC))
        wants_x, wants_taps = ctx.needs_input_grad
        of_x = triton.call("dilated.of_values", *given) if wants_x else None
        return of_x, triton.call("dilated.of_taps", *given) if wants_taps else None


@cache
def _offsets(device: torch.device) -> Tensor:
    """The offsets on a device, cached, since a copy at each call would synchronise the GPU.

    They may have been created in inference mode, so they are not saved for a backward pass.
    """
    return torch.tensor(tap_offsets(), dtype=torch.int32, device=device)
