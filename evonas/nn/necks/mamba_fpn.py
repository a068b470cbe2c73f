"""EvoNAS's feature pyramid: strip pooling on the coarsest map and SASF blocks in the top-down path.

Legend: B batch, C channels, H W space.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.initialise import uninitialised
from evonas.nn.level import Level
from evonas.nn.necks.fpn import Steps, extended, pyramid
from evonas.nn.sasf import SASF
from evonas.nn.strip_pooling import StripPooling


class ConvNormReLU(nn.Sequential):
    """A convolution without bias, batch norm and ReLU, with stride 1.

    Args:
        inner: input channels.
        outer: output channels.
        kernel: odd kernel size.
        momentum: momentum of the batch norm.
    """

    def __init__(self, inner: int, outer: int, kernel: int = 3, momentum: float = 0.1) -> None:
        conv = nn.Conv2d(inner, outer, kernel, padding=kernel // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outer, momentum=momentum), nn.ReLU())


class TopDown(nn.Module):
    """Top-down path that keeps the channels of every level.

    The coarsest map passes two strip poolings. Each top-down step is a 1x1 convolution to the channels of the finer
    map, a bilinear resize to its size, the sum with it, and an SASF block (EvoNAS, arXiv 2603.19563; layout of its
    published code).

    Args:
        channels: channels of the levels, finest first; the last divides by 4.
        pool_sizes: cells per side of the pooled grids.
        mlp_ratio: hidden width of the blocks' MLPs divided by their width.
        bn_momentum: momentum of the batch norms in the poolings.

    Raises:
        UserError: the coarsest level's channels do not divide by 4.
    """

    def __init__(
        self,
        channels: Sequence[int],
        pool_sizes: Sequence[int] = (20, 12),
        mlp_ratio: float = 4.0,
        bn_momentum: float = 0.1,
    ) -> None:
        super().__init__()
        if channels[-1] % 4:
            raise UserError(
                f"Strip pooling needs coarsest channels that divide by 4, got {channels[-1]}.",
                "Change network.dims, or use head/neck=fpn.",
            )
        finer, coarser = channels[:-1], channels[1:]
        self.pools = nn.Sequential(*(StripPooling(channels[-1], pool_sizes, bn_momentum) for _ in range(2)))
        self.steps = nn.ModuleList(nn.Conv2d(wide, dim, 1) for dim, wide in zip(finer, coarser, strict=True))
        self.blocks = nn.ModuleList(SASF(dim, mlp_ratio=mlp_ratio) for dim in finer)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps of the same shapes, finest first."""
        found = [self.pools(maps[-1])]
        for step, block, lateral in reversed(list(zip(self.steps, self.blocks, maps[:-1], strict=True))):
            found.append(block(resized(step(found[-1]), lateral.shape[-2:]) + lateral))
        return found[::-1]


class MambaFPN(nn.Module):
    """`TopDown`, followed by a 3x3 convolution with batch norm and ReLU to equal width.

    It has 5 866 633 parameters for levels of 64, 128, 256 and 512 channels and a width of 256.

    Args:
        levels: levels of the backbone, finest first.
        out_channels: channels of every map of the pyramid.
        pool_sizes: cells per side of the pooled grids.
        mlp_ratio: hidden width of the blocks' MLPs divided by their width.
        bn_momentum: momentum of all batch norms.
        extra: number of additional coarser maps, each subsampled by 2.
        seed: seed of the random weights.

    Raises:
        UserError: a number is too small, or the coarsest level's channels do not divide by 4.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        out_channels: int = 256,
        pool_sizes: Sequence[int] = (20, 12),
        mlp_ratio: float = 4.0,
        bn_momentum: float = 0.1,
        extra: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.steps, self.extra = Steps(levels), extra
        self.levels = pyramid(self.steps.levels, out_channels, extra)
        channels = [level.channels for level in levels]
        with uninitialised(self, seed):
            self.top_down = TopDown(channels, pool_sizes, mlp_ratio, bn_momentum)
            self.leaves = nn.ModuleList(
                ConvNormReLU(dim, out_channels, momentum=bn_momentum) for dim in channels
            )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """The pyramid of maps B C H W, finest first, with `extra` additional maps."""
        seen = self.top_down(self.steps(maps))
        return extended([leaf(each) for leaf, each in zip(self.leaves, seen, strict=True)], self.extra)


def resized(x: Float[Tensor, "B C h w"], size: Sequence[int]) -> Float[Tensor, "B C H W"]:
    """Resizes bilinearly (align_corners=False)."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
