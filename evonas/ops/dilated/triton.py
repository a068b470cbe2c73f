"""The dilated convolutions as one pass of 25 taps, by Triton's kernels, channels last.

Legend: B batch, C channels, H W space, K dilations, T taps. Suffixes name the axes of a tensor.
"""

from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from evonas.ops import triton
from evonas.ops.dilated import taps
from evonas.ops.native import gapless


def dilated(
    x_BCHW: Float[Tensor, "B C H W"],
    kernels_KC33: Float[Tensor, "K C 3 3"],
    alpha_K: Float[Tensor, " K"],
) -> Float[Tensor, "B C H W"]:
    """What `reference.dilated` computes; on a GPU alone (`triton.is_usable`)."""
    taps_TC = taps.merged(kernels_KC33, alpha_K)
    y_BHWC: Tensor = _Dilated.apply(x_BCHW.permute(0, 2, 3, 1), taps_TC)
    return y_BHWC.permute(0, 3, 1, 2)


class _Dilated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BHWC: Tensor, taps_TC: Tensor) -> Tensor:
        given = (gapless(x_BHWC), gapless(taps_TC))
        ctx.save_for_backward(*given)
        y_BHWC: Tensor = triton.call("dilated.forward", *given, _places(x_BHWC.device))
        return y_BHWC

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_BHWC: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x_BHWC, taps_TC = ctx.saved_tensors
        given = (x_BHWC, taps_TC, _places(x_BHWC.device), gapless(slope_BHWC))
        wants_x, wants_taps = ctx.needs_input_grad
        of_x = triton.call("dilated.of_values", *given) if wants_x else None
        return of_x, triton.call("dilated.of_taps", *given) if wants_taps else None


@cache
def _places(device: torch.device) -> Tensor:
    """On the device once and for all: to copy them there at each call would make the GPU wait.

    They may have been made in inference mode, so they are not kept for a backward pass.
    """
    return torch.tensor(taps.places(), dtype=torch.int32, device=device)
