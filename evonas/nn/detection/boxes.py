"""Box coding and other box operations of detectors.

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
    """Decodes the boxes of a box head; see the contract in `base.py`."""
    boxes: Tensor = _FINE.decode_single(coded.flatten(1), regions)
    return boxes.view_as(coded)


def code(boxes: Float[Tensor, "R 4"], regions: Float[Tensor, "R 4"]) -> Float[Tensor, "R 4"]:
    """Encodes one box per region, the inverse of `coded_from`."""
    coded: Tensor = _FINE.encode_single(boxes, regions)
    return coded


def moved(offsets: Float[Tensor, "R 4"], regions: Float[Tensor, "R 4"]) -> Float[Tensor, "R 4"]:
    """Decodes the offsets of a proposal network, which are coded without deviations."""
    boxes: Tensor = _COARSE.decode_single(offsets, regions)
    return boxes.view_as(offsets)


def rois_of(boxes: Float[Tensor, "B N 4"]) -> Float[Tensor, "rows 5"]:
    """Flattens boxes of a batch to rows of image index and box."""
    batch, count = boxes.shape[:2]
    images = torch.arange(batch, device=boxes.device).to(boxes).repeat_interleave(count)
    return torch.cat((images.unsqueeze(1), boxes.flatten(0, 1)), dim=1)


def worth_keeping(boxes: Float[Tensor, "B N 4"]) -> Bool[Tensor, "B N"]:
    """Whether both sides of a box are at least 0.01 pixels."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return (sides >= _SMALLEST).all(dim=-1)
