"""Output size of subnets that resize their input: heads predict at the size of the original images.

Legend: B batch, C channels, H W space.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.auxiliary import AuxiliaryOutput
from evonas.nn.detection.base import HeadOutput, RegionHead
from evonas.nn.gaussians import GaussianHead
from evonas.supernets.backbone import Backbone
from evonas.supernets.step import Size

# heads whose outputs are image coordinates: their input maps are resized instead of their outputs
_IN_COORDINATES = (RegionHead, GaussianHead)


def head_output(head: nn.Module, levels: list[Tensor], backbone: Backbone, size: Sequence[int]) -> HeadOutput:
    """The output of a head for images of `size`; a prediction of every pixel has that size.

    Args:
        head: the task's head.
        levels: maps of the backbone, at the backbone's input size.
        backbone: the backbone.
        size: height and width of the images in pixels.

    Raises:
        UserError: the sides are not multiples of the coarsest stride, and the head predicts cells instead of pixels, or
            the backbone leaves the last pixels out.
    """
    if isinstance(head, _IN_COORDINATES):
        resized = _is_resized(backbone, size)
        return _cropped(head(at_full_size(levels, backbone, size) if resized else levels), backbone, size)
    return fitted(head(levels), backbone, size)


def fitted(output: HeadOutput, backbone: Backbone, size: Sequence[int]) -> HeadOutput:
    """What a head made of the backbone's maps of images of `size`, at that size if it predicts every pixel.

    Args:
        output: of a head that does not predict coordinates.
        backbone: the backbone.
        size: height and width of the images in pixels.

    Raises:
        UserError: as of `head_output`.
    """
    if _is_resized(backbone, size):
        return _mapped(output, lambda dense: _interpolated(dense, size))
    return _cropped(output, backbone, size)


def _is_resized(backbone: Backbone, size: Sequence[int]) -> bool:
    height, width = size
    return backbone.input_size((height, width)) != (height, width)


def head_size(head: nn.Module, size: Size, own: Size) -> Size:
    """The image size that a head's input maps correspond to, if the backbone resizes images of `size` to `own`."""
    return size if isinstance(head, _IN_COORDINATES) else own


def at_full_size(levels: Sequence[Tensor], backbone: Backbone, size: Sequence[int]) -> list[Tensor]:
    """The levels, interpolated to their sizes for images of `size` without resizing."""
    grids = [[-(-side // level.stride) for side in size] for level in backbone.levels]
    return [_interpolated(each, grid) for each, grid in zip(levels, grids, strict=True)]


def _cropped(output: HeadOutput, backbone: Backbone, size: Sequence[int]) -> HeadOutput:
    """A dense output without the border that strides add to images whose sides they do not divide."""
    multiple, stride = backbone.levels[-1].stride, backbone.levels[0].stride
    if all(side % multiple == 0 for side in size):
        return output

    def cropped(dense: Tensor) -> Tensor:
        if list(dense.shape[-2:]) != [-(-side // stride) * stride for side in size]:
            raise UserError(
                f"This network answers images whose sides are multiples of {multiple}, got {size[0]}x{size[1]}.",
                f"Pad or resize the images, for example to "
                f"{'x'.join(str(-(-side // multiple) * multiple) for side in size)}.",
            )
        return dense[..., : size[0], : size[1]]

    return _mapped(output, cropped)


def _mapped(output: HeadOutput, change: Callable[[Tensor], Tensor]) -> HeadOutput:
    """A dense output, changed; others as they are."""
    if isinstance(output, AuxiliaryOutput):
        return replace(output, main=change(output.main))
    return change(output) if isinstance(output, Tensor) and output.ndim == 4 else output


def _interpolated(maps: Tensor, size: Sequence[int]) -> Tensor:
    if list(maps.shape[-2:]) == list(size):
        return maps
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)
