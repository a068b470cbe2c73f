"""Base class of residual blocks with stochastic depth; proxies and drawings identify blocks by it.

Legend: B batch.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """A residual block with stochastic depth.

    Args:
        drop_path: probability of dropping the branch of a sample in training.

    Attributes:
        channels_last: whether maps are B H W C instead of B C H W.
    """

    channels_last = False

    def __init__(self, drop_path: float = 0.0) -> None:
        super().__init__()
        self.drop_path = drop_path

    def drop(self, branch: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """The branch with dropped samples in training mode, else unchanged."""
        return drop_path(branch, self.drop_path) if self.training else branch


def drop_path(x: Float[Tensor, "B ..."], rate: float) -> Float[Tensor, "B ..."]:
    """Stochastic depth: zeroes samples with probability `rate` and scales the others by 1 / (1 - rate).

    Uses torch's default generator of the device, which training seeds at every step.
    """
    if rate == 0.0:
        return x
    keep = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - rate)
    return x * keep / (1 - rate)


def rising_rates(depths: Sequence[int], highest: float) -> list[list[float]]:
    """Stochastic-depth rates of the blocks of each stage, rising linearly over all blocks from 0 to `highest`."""
    rising = iter(torch.linspace(0, highest, sum(depths), device="cpu").tolist())
    return [[next(rising) for _ in range(depth)] for depth in depths]
