"""From a proposal network's maps to a fixed number of regions.

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
    """What a proposal network says of images.

    Args:
        objectness: logits of all anchors; likewise `offsets`.
        anchors: of one image, all levels.
        boxes: the best after suppression, clipped to the image and without slopes; zero where not `alive`.
        alive: fewer boxes than wanted may survive.
    """

    objectness: Float[Tensor, "B N"]
    offsets: Float[Tensor, "B N 4"]
    anchors: Float[Tensor, "N 4"]
    boxes: Float[Tensor, "B P 4"]
    alive: Bool[Tensor, "B P"]


def flattened(maps: Sequence[Tensor], values: int) -> list[Float[Tensor, "B positions values"]]:
    """Maps B (A values) H W, each as rows in the order of its anchors, in float32."""
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
    """The `keep` best of the `keep` best of each level that none of their level covers by more than 0.7.

    Args:
        objectness: B n 1 for each level, n its anchors; likewise `offsets` B n 4 and `anchors` n 4.
        size: height and width of the images.
        keep: proposals of an image; fewer where there are fewer anchors.
    """
    with torch.no_grad():
        parts = [_best(*each, keep) for each in zip(objectness, offsets, anchors, strict=True)]
        boxes = clip_boxes_to_image(torch.cat([part[0] for part in parts], dim=1), size)
        # above zero, however sure the network is that there is nothing
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
    """Boxes and logits of the best anchors of one level."""
    logits, places = objectness.squeeze(-1).topk(min(keep, objectness.shape[1]), dim=1)
    chosen = offsets.gather(1, places.unsqueeze(-1).expand(-1, -1, 4))
    boxes = moved(chosen.flatten(0, 1), anchors[places].flatten(0, 1))
    return boxes.view_as(chosen), logits
