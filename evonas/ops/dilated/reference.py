"""A sum of dilated depthwise convolutions, and equivalent forms of its kernels.

Legend: B batch, C channels, H W space, K dilations, T taps.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

DILATIONS = (1, 3, 5)


def dilated(
    x_BCHW: Float[Tensor, "B C H W"],
    kernels_KC33: Float[Tensor, "K C 3 3"],
    alpha_K: Float[Tensor, " K"],
) -> Float[Tensor, "B C H W"]:
    """sum_k alpha_k conv3x3(x, kernel_k, dilation d_k) for the dilations 1, 3 and 5, with replicated edges.

    The structure-aware state fusion of Spatial-Mamba (arXiv 2410.15091), in the form that is trained.
    """
    fused = torch.zeros_like(x_BCHW)
    for dilation, kernel, alpha in zip(DILATIONS, kernels_KC33, alpha_K, strict=True):
        fused = fused + depthwise(x_BCHW, alpha * kernel, dilation)
    return fused


def merge(kernels_KC33: Float[Tensor, "K C 3 3"], alpha_K: Float[Tensor, " K"]) -> Float[Tensor, "C 11 11"]:
    """The kernel whose `depthwise` convolution equals `dilated`; 25 of its 121 weights are not zero."""
    reach = max(DILATIONS)
    merged = kernels_KC33.new_zeros(kernels_KC33.shape[1], 2 * reach + 1, 2 * reach + 1)
    for dilation, kernel, alpha in zip(DILATIONS, kernels_KC33, alpha_K, strict=True):
        taps = slice(reach - dilation, reach + dilation + 1, dilation)
        merged[:, taps, taps] += alpha * kernel
    return merged


def tap_weights(kernels_KC33: Float[Tensor, "K C 3 3"], alpha_K: Float[Tensor, " K"]) -> Float[Tensor, "T C"]:
    """The weights of the merged kernel's 25 taps, in the order of `tap_offsets`; differentiable."""
    scaled_KC33 = kernels_KC33 * alpha_K.view(-1, 1, 1, 1)
    weights = [scaled_KC33[:, :, 1, 1].sum(dim=0)]
    for scaled_C33 in scaled_KC33:
        weights += [scaled_C33[:, row + 1, column + 1] for row, column in _around()]
    return torch.stack(weights)


def tap_offsets() -> list[tuple[int, int]]:
    """Row and column offset of each tap; the common centre of all dilations is the first."""
    return [(0, 0)] + [(row * d, column * d) for d in DILATIONS for row, column in _around()]


def _around() -> Iterator[tuple[int, int]]:
    return ((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column)


def depthwise(
    x_BCHW: Float[Tensor, "B C H W"], kernel_CKK: Float[Tensor, "C K K"], dilation: int = 1
) -> Float[Tensor, "B C H W"]:
    """A depthwise convolution with replicated edges, which keeps the size of the map."""
    edge = dilation * (kernel_CKK.shape[-1] // 2)
    padded = F.pad(x_BCHW, (edge, edge, edge, edge), mode="replicate")
    return F.conv2d(padded, kernel_CKK.unsqueeze(1), dilation=dilation, groups=kernel_CKK.shape[0])
