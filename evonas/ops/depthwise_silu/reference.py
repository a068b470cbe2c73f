"""The depthwise convolution within a state space mixer and its activation, in plain torch.

Legend: B batch, H W space, C channels.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def depthwise_silu(
    x_BHWC: Float[Tensor, "B H W C"], kernels_C133: Float[Tensor, "C 1 3 3"], bias_C: Float[Tensor, " C"]
) -> Float[Tensor, "B H W C"]:
    """silu(dw(x) + bias) with silu(x) = x / (1 + exp(-x)) and zero padding; the shape is that of x."""
    y_BCHW = F.conv2d(x_BHWC.permute(0, 3, 1, 2), kernels_C133, bias_C, padding=1, groups=len(kernels_C133))
    return F.silu(y_BCHW).permute(0, 2, 3, 1)
