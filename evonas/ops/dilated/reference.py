"""A sum of dilated depthwise convolutions, and the one kernel that does the same.

Legend: B batch, C channels, H W space, K dilations.
"""

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
    """sum_k alpha_k conv3x3(x, kernel_k, dilation k) for the dilations 1, 3 and 5, edges repeated.

    The structure-aware state fusion of Spatial-Mamba (arXiv 2410.15091), in the form it is trained.
    """
    fused = torch.zeros_like(x_BCHW)
    for dilation, kernel, alpha in zip(DILATIONS, kernels_KC33, alpha_K, strict=True):
        fused = fused + depthwise(x_BCHW, alpha * kernel, dilation)
    return fused


def merge(kernels_KC33: Float[Tensor, "K C 3 3"], alpha_K: Float[Tensor, " K"]) -> Float[Tensor, "C 11 11"]:
    """The one kernel whose `depthwise` convolution equals `dilated`; 25 of its 121 numbers are used."""
    reach = max(DILATIONS)
    merged = kernels_KC33.new_zeros(kernels_KC33.shape[1], 2 * reach + 1, 2 * reach + 1)
    for dilation, kernel, alpha in zip(DILATIONS, kernels_KC33, alpha_K, strict=True):
        taps = slice(reach - dilation, reach + dilation + 1, dilation)
        merged[:, taps, taps] += alpha * kernel
    return merged


def depthwise(
    x_BCHW: Float[Tensor, "B C H W"], kernel_CKK: Float[Tensor, "C K K"], dilation: int = 1
) -> Float[Tensor, "B C H W"]:
    """A depthwise convolution that keeps the size of the map by repeating its edges."""
    edge = dilation * (kernel_CKK.shape[-1] // 2)
    padded = F.pad(x_BCHW, (edge, edge, edge, edge), mode="replicate")
    return F.conv2d(padded, kernel_CKK.unsqueeze(1), dilation=dilation, groups=kernel_CKK.shape[0])
