"""Stem and patch merges of EvoNet, which all subnets share completely.

Legend: B batch, C channels, H W space.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Stem(nn.Module):
    """Maps images to stride 4 by convolutions without bias, each with a batch norm.

    Args:
        stem_dim: channels at stride 2.
        hidden_dim: channels between the last two convolutions.
        out_dim: channels of the output.
        momentum: momentum of the batch norms.
    """

    def __init__(self, stem_dim: int, hidden_dim: int, out_dim: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.enter = _conv_norm(3, stem_dim, momentum, kernel=3, stride=2)
        self.first = _conv_norm(stem_dim, stem_dim, momentum, kernel=3)
        self.second = _conv_norm(stem_dim, stem_dim, momentum, kernel=3)
        self.widen = _conv_norm(stem_dim, hidden_dim, momentum, kernel=3, stride=2)
        self.leave = _conv_norm(hidden_dim, out_dim, momentum, kernel=1)

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C H4 W4"]:
        """A map at stride 4; odd sizes are rounded up at each halving."""
        x = F.relu(self.enter(x))
        x = x + self.second(F.relu(self.first(x)))
        return self.leave(F.relu(self.widen(x)))


class PatchMerge(nn.Module):
    """Halves the resolution and changes the channels, by an inverted bottleneck.

    Args:
        in_dim: channels of the input.
        hidden_dim: channels of the depthwise convolution.
        out_dim: channels of the output.
        momentum: momentum of the batch norm.
    """

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.enter = nn.Conv2d(in_dim, hidden_dim, 1)
        self.halve = nn.Conv2d(hidden_dim, hidden_dim, 3, stride=2, padding=1, groups=hidden_dim)
        self.leave = nn.Conv2d(hidden_dim, out_dim, 1)
        self.norm = nn.BatchNorm2d(out_dim, momentum=momentum)

    def forward(self, x: Float[Tensor, "B C_in H W"]) -> Float[Tensor, "B C_out H2 W2"]:
        """A map of half the size; odd sizes are rounded up."""
        return self.norm(self.leave(F.relu(self.halve(F.relu(self.enter(x))))))


def _conv_norm(in_dim: int, out_dim: int, momentum: float, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_dim, out_dim, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_dim, momentum=momentum))
