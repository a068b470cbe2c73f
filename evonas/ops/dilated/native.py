"""The dilated convolutions as one pass of 25 taps by a compiled kernel, without gradients.

Legend: B batch, C channels, H W space, K dilations, T taps.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from evonas.ops import native
from evonas.ops.dilated import phased
from evonas.ops.dilated.reference import tap_offsets, tap_weights


def dilated(
    x_BCHW: Float[Tensor, "B C H W"],
    kernels_KC33: Float[Tensor, "K C 3 3"],
    alpha_K: Float[Tensor, " K"],
) -> Float[Tensor, "B C H W"]:
    """Equals `reference.dilated`, in channels-last layout; `phased` runs instead if gradients are needed."""
    operands = (x_BCHW, kernels_KC33, alpha_K)
    if torch.is_grad_enabled() and any(each.requires_grad for each in operands):
        return phased.dilated(*operands)
    x_BHWC = native.gapless(x_BCHW.permute(0, 2, 3, 1))
    taps_TC, offsets_T2 = tap_weights(kernels_KC33, alpha_K), torch.tensor(tap_offsets(), dtype=torch.int8)
    y_BHWC = torch.empty_like(x_BHWC)
    native.call("evonas_dilated", (x_BHWC, taps_TC, offsets_T2, y_BHWC), tuple(x_BHWC.shape))
    return y_BHWC.permute(0, 3, 1, 2)
