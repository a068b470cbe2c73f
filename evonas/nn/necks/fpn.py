"""FPN, and parts shared by all necks.

A neck is built with `neck(levels, out_channels=)` for the levels of a backbone, finest first. It maps their feature
maps to a pyramid of equal width with the levels `neck.levels`. Sizes need not divide, since a coarser map is resized to
the finer one. Levels of equal stride, as in a plain vision transformer, are rescaled first (`Steps`).

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
    """A neck; see the module's contract."""

    levels: tuple[Level, ...]

    def __call__(self, maps: list[Tensor]) -> list[Tensor]: ...


class FPN(nn.Module):
    """Feature pyramid network: lateral convolutions, nearest upsampling, 3x3 convolutions (arXiv 1612.03144).

    Args:
        levels: levels of the backbone, finest first.
        out_channels: channels of every map of the pyramid.
        extra: number of additional coarser maps, each subsampled by 2.
        seed: seed of the random weights.

    Raises:
        UserError: a number is too small, or levels of equal stride have an odd stride.
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
        """The pyramid of maps B C H W, finest first, with `extra` additional maps."""
        named = OrderedDict((str(index), each) for index, each in enumerate(self.steps(maps)))
        return extended(list(self.merge(named).values()), self.extra)


class Steps(nn.Module):
    """Rescales levels of equal stride to 1/2, 1, 2, 4, ... times this stride; other levels are unchanged.

    The first map is upsampled bilinearly, the others are max-pooled. EvoNAS's teacher for COCO rescales the last four
    layers of DINOv2 from stride 14 to 7, 14, 28 and 56 (arXiv 2603.19563, published code).

    Args:
        levels: levels of the backbone.

    Raises:
        UserError: the equal stride is odd.
    """

    def __init__(self, levels: Sequence[Level]) -> None:
        super().__init__()
        self.is_needed = len(levels) > 1 and len({level.stride for level in levels}) == 1
        self.levels = tuple(levels)
        if self.is_needed:
            if levels[0].stride % 2:
                raise UserError(f"Levels of equal stride need an even stride, got {levels[0].stride}.")
            half = levels[0].stride // 2
            self.levels = tuple(Level(each.channels, half << at) for at, each in enumerate(levels))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """One map B C H W per level."""
        if not self.is_needed:
            return maps
        first = F.interpolate(maps[0], scale_factor=2, mode="bilinear", align_corners=False)
        rest = [F.max_pool2d(each, 1 << at, ceil_mode=True) for at, each in enumerate(maps[1:])]
        return [first, *rest]


def pyramid(levels: Sequence[Level], out_channels: int, extra: int) -> tuple[Level, ...]:
    """The levels of a pyramid; each additional one doubles the stride.

    Raises:
        UserError: a number is too small.
    """
    if not levels or out_channels < 1 or extra < 0:
        raise UserError(
            f"A pyramid needs levels, out_channels >= 1 and extra >= 0, got {len(levels)} levels, "
            f"out_channels={out_channels} and extra={extra}.",
            "Try out_channels=256 and extra=1.",
        )
    strides = [level.stride for level in levels]
    strides += [strides[-1] << step for step in range(1, extra + 1)]
    return tuple(Level(out_channels, stride) for stride in strides)


def extended(maps: list[Tensor], extra: int) -> list[Tensor]:
    """The maps and `extra` additional ones, each subsampled by 2."""
    maps = list(maps)
    for _ in range(extra):
        maps.append(F.max_pool2d(maps[-1], kernel_size=1, stride=2))
    return maps
