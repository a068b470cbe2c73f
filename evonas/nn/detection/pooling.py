"""RoIAlign on a feature pyramid, with the level of each region chosen by its size.

Legend: B batch, C channels, R regions.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.ops import roi_align

# a region of 56 x 56 pixels is pooled at stride 4, of 112 x 112 at stride 8 (arXiv 1612.03144, eq. 1)
_CELLS = 14
_EPSILON = 1e-6
_SAMPLES = 2


def pooled(
    maps: Sequence[Float[Tensor, "B C _ _"]],
    strides: Sequence[int],
    rois: Float[Tensor, "R 5"],
    side: int,
    samples: int = _SAMPLES,
) -> Float[Tensor, "R C side side"]:
    """RoIAlign features of regions in float32; on the meta device only their shape.

    Args:
        maps: maps of equal width, finest first.
        strides: strides of the maps.
        rois: index of the image, then x1 y1 x2 y2 in pixels of the input.
        side: cells per side of the result.
        samples: sampling points per side of a cell; 0 adapts them to the size of the region.
    """
    if rois.is_meta:
        return maps[0].new_empty(rois.shape[0], maps[0].shape[1], side, side, dtype=torch.float32)
    level = _level(rois, strides)
    if torch.compiler.is_exporting():
        return _from_all(maps, strides, rois, side, level, samples)
    found = maps[0].new_zeros(rois.shape[0], maps[0].shape[1], side, side, dtype=torch.float32)
    for index, (each, stride) in enumerate(zip(maps, strides, strict=True)):
        chosen = torch.nonzero(level == index).squeeze(1)
        found = found.index_put((chosen,), _aligned(each, stride, rois[chosen], side, samples))
    return found


def _level(rois: Tensor, strides: Sequence[int]) -> Tensor:
    sides = ((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2])).clamp_min(0).sqrt()
    steps = torch.log2(sides.clamp_min(_EPSILON) / (_CELLS * strides[0]) + _EPSILON).floor()
    return steps.clamp(0, len(strides) - 1).long()


def _from_all(
    maps: Sequence[Tensor], strides: Sequence[int], rois: Tensor, side: int, level: Tensor, samples: int
) -> Tensor:
    """Pools all regions from all maps, without data-dependent shapes, for export."""
    found = _aligned(maps[0], strides[0], rois, side, samples)
    for index in range(1, len(maps)):
        there = (level == index).view(-1, 1, 1, 1)
        found = torch.where(there, _aligned(maps[index], strides[index], rois, side, samples), found)
    return found


def _aligned(features: Tensor, stride: int, rois: Tensor, side: int, samples: int) -> Tensor:
    found: Tensor = roi_align(features.float(), rois, side, 1 / stride, samples, aligned=True)
    return found
