"""Non-maximum suppression with fixed shapes: it returns a mask of the kept boxes.

Legend: B batch, N boxes.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import batched_nms, nms


def survivors(
    boxes: Float[Tensor, "B N 4"], scores: Float[Tensor, "B N"], groups: Int[Tensor, "B N"], threshold: float
) -> Bool[Tensor, "B N"]:
    """The mask of boxes kept by non-maximum suppression within each image and group.

    Boxes with scores of zero or less are not kept. On the meta device all are kept.

    Args:
        boxes: x1 y1 x2 y2.
        scores: score of each box.
        groups: group of each box, such as its class or level.
        threshold: IoU above which the box with the lower score is suppressed.
    """
    if boxes.is_meta:
        return torch.ones_like(scores, dtype=torch.bool)
    # boxes.shape[0] keeps the batch size dynamic in exported graphs; len() does not
    images = torch.arange(boxes.shape[0], device=boxes.device)[:, None]
    apart = (groups + images * (groups.max() + 1)).flatten()
    flat, values = boxes.flatten(0, 1), scores.flatten()
    if torch.compiler.is_exporting():
        return _in_one_go(flat, values, apart, threshold).view_as(scores) & (scores > 0)
    some = torch.nonzero(values > 0).squeeze(1)
    kept = some[batched_nms(flat[some], values[some], apart[some], threshold)]
    return torch.zeros_like(values, dtype=torch.bool).index_fill_(0, kept, True).view_as(scores)


def _in_one_go(boxes: Tensor, scores: Tensor, apart: Tensor, threshold: float) -> Tensor:
    """One suppression for all groups, which are shifted apart; for export."""
    moved = boxes + (apart * (boxes.max() + 1)).unsqueeze(1).to(boxes)
    kept = nms(moved, scores, threshold)
    return torch.zeros_like(scores, dtype=torch.bool).index_fill(0, kept, True)
