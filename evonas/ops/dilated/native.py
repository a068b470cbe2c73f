"""The dilated convolutions as one pass of 25 taps, by a compiled kernel; without gradients.

Legend: B batch, C channels, H W space, K dilations, T taps.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from evonas.ops import native
from evonas.ops.dilated import phased
from evonas.ops.dilated.reference import DILATIONS


def dilated(
    x_BCHW: Float[Tensor, "B C H W"],
    kernels_KC33: Float[Tensor, "K C 3 3"],
    alpha_K: Float[Tensor, " K"],
) -> Float[Tensor, "B C H W"]:
    """What `reference.dilated` computes, channels last; where gradients are wanted `phased` runs."""
    operands = (x_BCHW, kernels_KC33, alpha_K)
    if torch.is_grad_enabled() and any(each.requires_grad for each in operands):
        return phased.dilated(*operands)
    x_BHWC = native.gapless(x_BCHW.permute(0, 2, 3, 1))
    taps_TC, places = _merged(kernels_KC33.detach() * alpha_K.detach().view(-1, 1, 1, 1))
    y_BHWC = torch.empty_like(x_BHWC)
    native.call("evonas_dilated", (x_BHWC, taps_TC, places, y_BHWC), tuple(x_BHWC.shape))
    return y_BHWC.permute(0, 3, 1, 2)


def _merged(scaled_KC33: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the taps, T C, and how many rows and columns away each is; the centres are one tap."""
    weights, places = [scaled_KC33[:, :, 1, 1].sum(dim=0)], [(0, 0)]
    for scaled_C33, dilation in zip(scaled_KC33, DILATIONS, strict=True):
        for row, column in _around():
            weights.append(scaled_C33[:, row + 1, column + 1])
            places.append((row * dilation, column * dilation))
    return torch.stack(weights).contiguous(), torch.tensor(places, dtype=torch.int8)


def _around() -> Iterator[tuple[int, int]]:
    return ((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column)
