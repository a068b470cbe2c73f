"""Arithmetic of boxes that several parts of a detector share.

Legend: B batch, C classes, N boxes, R regions.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder

from evonas.nn.detection.base import DEVIATIONS

_SMALLEST = 1e-2
_FINE = BoxCoder(tuple(1 / each for each in DEVIATIONS))
_COARSE = BoxCoder((1.0, 1.0, 1.0, 1.0))


def coded_from(coded: Float[Tensor, "R C 4"], regions: Float[Tensor, "R 4"]) -> Float[Tensor, "R C 4"]:
    """Boxes from what a box head says of regions; see the contract in `base.py`."""
    boxes: Tensor = _FINE.decode_single(coded.flatten(1), regions)
    return boxes.view_as(coded)


def code(boxes: Float[Tensor, "R 4"], regions: Float[Tensor, "R 4"]) -> Float[Tensor, "R 4"]:
    """The inverse of `coded_from` for one box a region."""
    coded: Tensor = _FINE.encode_single(boxes, regions)
    return coded


def moved(offsets: Float[Tensor, "R 4"], regions: Float[Tensor, "R 4"]) -> Float[Tensor, "R 4"]:
    """Anchors moved by what a proposal network says of them, which codes without deviations."""
    boxes: Tensor = _COARSE.decode_single(offsets, regions)
    return boxes.view_as(offsets)


def rois_of(boxes: Float[Tensor, "B N 4"]) -> Float[Tensor, "rows 5"]:
    """Boxes of a batch in one list, each after the number of its image."""
    batch, count = boxes.shape[:2]
    images = torch.arange(batch, device=boxes.device).to(boxes).repeat_interleave(count)
    return torch.cat((images.unsqueeze(1), boxes.flatten(0, 1)), dim=1)


def worth_keeping(boxes: Float[Tensor, "B N 4"]) -> Bool[Tensor, "B N"]:
    """Whether a box is wide and high enough to be one."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return (sides >= _SMALLEST).all(dim=-1)
