"""Residual blocks: what scores, samplers of depth and drawings recognise as the blocks of a network.

Legend: B batch.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """A block that adds to what it is given; whatever it adds can be dropped while training (stochastic depth).

    Args:
        drop_path: probability that the branch of a sample is dropped.

    Attributes:
        channels_last: whether its maps are B H W C, not B C H W.
    """

    channels_last = False

    def __init__(self, drop_path: float = 0.0) -> None:
        super().__init__()
        self.drop_path = drop_path

    def drop(self, branch: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """The branch, without the samples that drop out."""
        return drop_path(branch, self.drop_path) if self.training else branch


def drop_path(x: Float[Tensor, "B ..."], rate: float) -> Float[Tensor, "B ..."]:
    """Zero whole samples with probability `rate` and scale the rest, so that the mean stays.

    Draws from torch's default generator of the device, which training seeds at every step.
    """
    if rate == 0.0:
        return x
    keep = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - rate)
    return x * keep / (1 - rate)


def rising_rates(depths: Sequence[int], highest: float) -> list[list[float]]:
    """Drop-path rates of the blocks of each stage, rising linearly over all blocks from 0 to `highest`."""
    rising = iter(torch.linspace(0, highest, sum(depths), device="cpu").tolist())
    return [[next(rising) for _ in range(depth)] for depth in depths]
