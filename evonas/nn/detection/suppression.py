"""Non-maximum suppression that keeps shapes: what is suppressed is marked, not removed.

Legend: B batch, N boxes.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import batched_nms, nms


def survivors(
    boxes: Float[Tensor, "B N 4"], scores: Float[Tensor, "B N"], groups: Int[Tensor, "B N"], threshold: float
) -> Bool[Tensor, "B N"]:
    """Which boxes no better box of their image and group covers by more than `threshold` (IoU).

    Boxes with scores of zero or less do not take part. Without memory (meta) all survive.
    """
    if boxes.is_meta:
        return torch.ones_like(scores, dtype=torch.bool)
    # not len(): a graph shall be free in the number of images
    images = torch.arange(boxes.shape[0], device=boxes.device)[:, None]
    apart = (groups + images * (groups.max() + 1)).flatten()
    flat, values = boxes.flatten(0, 1), scores.flatten()
    if torch.compiler.is_exporting():
        return _in_one_go(flat, values, apart, threshold).view_as(scores) & (scores > 0)
    some = torch.nonzero(values > 0).squeeze(1)
    kept = some[batched_nms(flat[some], values[some], apart[some], threshold)]
    return torch.zeros_like(values, dtype=torch.bool).index_fill_(0, kept, True).view_as(scores)


def _in_one_go(boxes: Tensor, scores: Tensor, apart: Tensor, threshold: float) -> Tensor:
    """Groups are moved so far from each other that one suppression does for all."""
    moved = boxes + (apart * (boxes.max() + 1)).unsqueeze(1).to(boxes)
    kept = nms(moved, scores, threshold)
    return torch.zeros_like(scores, dtype=torch.bool).index_fill(0, kept, True)
