"""Output size of subnets that resize their input: heads predict at the size of the original images.

Legend: B batch, C channels, H W space.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from evonas.nn.auxiliary import AuxiliaryOutput
from evonas.nn.detection.base import HeadOutput, RegionHead
from evonas.nn.gaussians import GaussianHead
from evonas.supernets.backbone import Backbone
from evonas.supernets.step import Size

# heads whose outputs are image coordinates: their input maps are resized instead of their outputs
_IN_COORDINATES = (RegionHead, GaussianHead)


def head_output(head: nn.Module, levels: list[Tensor], backbone: Backbone, size: Sequence[int]) -> HeadOutput:
    """The output of a head for images of `size`.

    Args:
        head: the task's head.
        levels: maps of the backbone, at the backbone's input size.
        backbone: the backbone.
        size: height and width of the images in pixels.
    """
    height, width = size
    if backbone.input_size((height, width)) == (height, width):
        return head(levels)
    if isinstance(head, _IN_COORDINATES):
        return head(at_full_size(levels, backbone, size))
    return _resized(head(levels), backbone.levels[0].stride, size)


def head_size(head: nn.Module, size: Size, own: Size) -> Size:
    """The image size that a head's input maps correspond to, if the backbone resizes images of `size` to `own`."""
    return size if isinstance(head, _IN_COORDINATES) else own


def at_full_size(levels: Sequence[Tensor], backbone: Backbone, size: Sequence[int]) -> list[Tensor]:
    """The levels, interpolated to their sizes for images of `size` without resizing."""
    grids = [[-(-side // level.stride) for side in size] for level in backbone.levels]
    return [_interpolated(each, grid) for each, grid in zip(levels, grids, strict=True)]


def _resized(output: HeadOutput, stride: int, size: Sequence[int]) -> HeadOutput:
    """A dense output at the size that it has without resizing; other outputs are unchanged."""
    wanted = [-(-side // stride) * stride for side in size]
    if isinstance(output, AuxiliaryOutput):
        return replace(output, main=_interpolated(output.main, wanted))
    return _interpolated(output, wanted) if isinstance(output, Tensor) and output.ndim == 4 else output


def _interpolated(maps: Tensor, size: Sequence[int]) -> Tensor:
    if list(maps.shape[-2:]) == list(size):
        return maps
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)
