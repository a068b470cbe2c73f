"""The plain feature pyramid, and what necks share.

The contract of a neck. `neck(levels, out_channels=)` is made for a backbone's levels, finest
first, and maps its feature maps to a pyramid of one width; `neck.levels` says what it yields.
Sides need not divide: a coarser map is resized to the finer one's size. Levels of one stride, as a
plain transformer gives them, are stepped first (`Steps`).

Legend: B batch, C channels, H W space.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from evonas.errors import UserError
from evonas.nn.initialise import uninitialised
from evonas.nn.level import Level


class Neck(Protocol):
    """See the module."""

    levels: tuple[Level, ...]

    def __call__(self, maps: list[Tensor]) -> list[Tensor]: ...


class FPN(nn.Module):
    """Laterals of one width, nearest steps up, a 3x3 convolution each (arXiv 1612.03144).

    Args:
        levels: what the backbone yields, finest first.
        out_channels: width of every map of the pyramid.
        extra: maps beyond the coarsest, each every second position of the one before.
        seed: of the random weights.

    Raises:
        UserError: the sizes make no pyramid.
    """

    def __init__(
        self, levels: Sequence[Level], out_channels: int = 256, extra: int = 1, seed: int = 0
    ) -> None:
        super().__init__()
        self.steps, self.extra = Steps(levels), extra
        self.levels = pyramid(self.steps.levels, out_channels, extra)
        with uninitialised(self, seed):
            self.merge = FeaturePyramidNetwork([level.channels for level in levels], out_channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps B C H W, finest first, to as many and `extra` more of `out_channels`."""
        named = OrderedDict((str(index), each) for index, each in enumerate(self.steps(maps)))
        return extended(list(self.merge(named).values()), self.extra)


class Steps(nn.Module):
    """Brings levels of one stride to 1/2, 1, 2, 4, ... of it; other levels stay as they are. No weights.

    The first map is stretched, the others keep the largest value of each square. EvoNAS' teacher of COCO
    steps the last four layers of DINOv2 from 14 to 7, 14, 28 and 56 pixels (arXiv 2603.19563, public code).

    Args:
        levels: what the backbone yields.

    Raises:
        UserError: the one stride is odd.
    """

    def __init__(self, levels: Sequence[Level]) -> None:
        super().__init__()
        self.is_needed = len(levels) > 1 and len({level.stride for level in levels}) == 1
        self.levels = tuple(levels)
        if self.is_needed:
            if levels[0].stride % 2:
                raise UserError(f"Levels of one odd stride, {levels[0].stride}, make no pyramid.")
            half = levels[0].stride // 2
            self.levels = tuple(Level(each.channels, half << at) for at, each in enumerate(levels))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps B C H W, one for each level."""
        if not self.is_needed:
            return maps
        first = F.interpolate(maps[0], scale_factor=2, mode="bilinear", align_corners=False)
        rest = [F.max_pool2d(each, 1 << at, ceil_mode=True) for at, each in enumerate(maps[1:])]
        return [first, *rest]


def pyramid(levels: Sequence[Level], out_channels: int, extra: int) -> tuple[Level, ...]:
    """The levels of a pyramid over a backbone's; each extra one has twice the stride of the one before."""
    if not levels or out_channels < 1 or extra < 0:
        raise UserError(
            f"No pyramid of {len(levels)} levels, out_channels={out_channels} and extra={extra}.",
            "Give one level or more, out_channels=256 and extra=1.",
        )
    strides = [level.stride for level in levels]
    strides += [strides[-1] << step for step in range(1, extra + 1)]
    return tuple(Level(out_channels, stride) for stride in strides)


def extended(maps: list[Tensor], extra: int) -> list[Tensor]:
    """The maps and `extra` more: each every second row and column of the one before."""
    maps = list(maps)
    for _ in range(extra):
        maps.append(F.max_pool2d(maps[-1], kernel_size=1, stride=2))
    return maps
