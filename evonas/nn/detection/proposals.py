"""Selection of a fixed number of proposals from the outputs of a region proposal network.

Legend: A anchors at a position, B batch, N anchors of all levels, P proposals, H W space.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchvision.models.detection.rpn import permute_and_flatten
from torchvision.ops import clip_boxes_to_image

from evonas.nn.detection.boxes import moved, worth_keeping
from evonas.nn.detection.suppression import survivors

_OVERLAP = 0.7


@dataclass(frozen=True, slots=True)
class Proposals:
    """Outputs of a proposal network.

    Args:
        objectness: logits of all anchors.
        offsets: coded boxes of all anchors.
        anchors: anchors of one image, all levels.
        boxes: the best boxes after suppression, clipped to the image, without gradient; zero where not `alive`.
        alive: whether a row of `boxes` is a proposal.
    """

    objectness: Float[Tensor, "B N"]
    offsets: Float[Tensor, "B N 4"]
    anchors: Float[Tensor, "N 4"]
    boxes: Float[Tensor, "B P 4"]
    alive: Bool[Tensor, "B P"]


def flattened(maps: Sequence[Tensor], values: int) -> list[Float[Tensor, "B positions values"]]:
    """Reshapes maps B (A values) H W to rows in the order of the anchors, in float32."""
    return [
        permute_and_flatten(each, each.shape[0], each.shape[1] // values, values, *each.shape[-2:]).float()
        for each in maps
    ]


def proposed(
    objectness: Sequence[Tensor],
    offsets: Sequence[Tensor],
    anchors: Sequence[Tensor],
    size: tuple[int, int],
    keep: int,
) -> Proposals:
    """The `keep` best proposals: top `keep` per level, suppression per level at IoU 0.7, top `keep` of all.

    Args:
        objectness: logits B n 1 of each level with n anchors.
        offsets: coded boxes B n 4 of each level.
        anchors: anchors n 4 of each level.
        size: height and width of the images in pixels.
        keep: number of proposals per image, at most the number of anchors.
    """
    with torch.no_grad():
        parts = [_best(*each, keep) for each in zip(objectness, offsets, anchors, strict=True)]
        boxes = clip_boxes_to_image(torch.cat([part[0] for part in parts], dim=1), size)
        # positive scores mark proposals, so probabilities must not round to zero
        scores = torch.cat([part[1] for part in parts], dim=1).sigmoid().clamp_min(1e-12)
        levels = torch.cat(
            [torch.full_like(part[1], at, dtype=torch.long) for at, part in enumerate(parts)], dim=1
        )
        scores = scores * worth_keeping(boxes)
        scores = scores * survivors(boxes, scores, levels, _OVERLAP)
        best, places = scores.topk(min(keep, scores.shape[1]), dim=1)
        alive = best > 0
        boxes = boxes.gather(1, places.unsqueeze(-1).expand(-1, -1, 4)) * alive.unsqueeze(-1)
    joined = (torch.cat([*each], dim=1) for each in (objectness, offsets))
    logits, moves = joined
    return Proposals(logits.squeeze(-1), moves, torch.cat([*anchors]), boxes, alive)


def _best(objectness: Tensor, offsets: Tensor, anchors: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Decoded boxes and logits of the best anchors of one level."""
    logits, places = objectness.squeeze(-1).topk(min(keep, objectness.shape[1]), dim=1)
    chosen = offsets.gather(1, places.unsqueeze(-1).expand(-1, -1, 4))
    boxes = moved(chosen.flatten(0, 1), anchors[places].flatten(0, 1))
    return boxes.view_as(chosen), logits
