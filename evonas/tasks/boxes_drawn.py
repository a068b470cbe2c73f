"""Drawing of boxes on images."""

import numpy as np
import torch
from torch import Tensor
from torchvision.utils import draw_bounding_boxes

from evonas.tasks.base import Picture
from evonas.tasks.palette import CLASS_COLOURS


def drawn(image: Picture, boxes: Tensor, labels: Tensor) -> Picture:
    """A copy of an image H W 3 with boxes N 4 drawn in the colours of their classes."""
    # boxes smaller than a pixel cannot be drawn
    there = (boxes[:, 2:] - boxes[:, :2] >= 1).all(dim=1)
    boxes, labels = boxes[there], labels[there]
    if len(boxes) == 0:
        return image.copy()
    colours = [CLASS_COLOURS[label % len(CLASS_COLOURS)] for label in labels.tolist()]
    width = max(1, round(min(image.shape[:2]) / 160))
    canvas = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    found = draw_bounding_boxes(canvas, boxes.cpu(), colors=colours, width=width)
    return np.ascontiguousarray(found.permute(1, 2, 0).numpy())
