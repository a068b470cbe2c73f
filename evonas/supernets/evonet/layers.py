"""Layers that read their width from their weights, so that a subnet's are the shared ones on smaller tensors.

Legend: B batch, C channels, H W space.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Depthwise(nn.Conv2d):
    """A 3x3 depthwise convolution over channels-last maps."""

    bias: nn.Parameter

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1, groups=channels)

    def forward(self, input: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        channels = self.weight.shape[0]
        y = F.conv2d(input.permute(0, 3, 1, 2), self.weight, self.bias, padding=1, groups=channels)
        return y.permute(0, 2, 3, 1)


class LayerNorm(nn.LayerNorm):
    """LayerNorm over the width that its weight has."""

    def forward(self, input: Float[Tensor, "*rest C"]) -> Float[Tensor, "*rest C"]:
        return F.layer_norm(input, self.weight.shape, self.weight, self.bias, self.eps)
