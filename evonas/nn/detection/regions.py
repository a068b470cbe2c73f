"""Training losses of an `RCNN` on one batch, with torchvision's matching and sampling.

Legend: B batch, C classes, N objects, R regions, S side of a mask.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torchvision.ops import roi_align

from evonas.nn.detection.base import Samples, Truth
from evonas.nn.detection.boxes import code
from evonas.nn.detection.proposals import Proposals

# transition of the smooth L1 loss (torchvision's value)
_BETA = 1 / 9


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Sampled regions, and the index of the object of each."""

    samples: Samples
    objects: Tensor


class RCNNRegions:
    """The training output of an `RCNN`; see `Regions` in `base.py`.

    Args:
        head: an `RCNN`.
        maps: its pyramid.
        proposals: outputs of its proposal network.
        drawn: regions sampled before, or None.
    """

    def __init__(
        self, head: Any, maps: list[Tensor], proposals: Proposals, drawn: _Drawn | None = None
    ) -> None:
        self._head, self._maps, self._proposals, self._drawn = head, maps, proposals, drawn

    def losses(self, batch: Truth) -> dict[str, Tensor]:
        """Losses of the proposal network, the box head and, if present, the mask head."""
        found = self._of_proposals(objects_of(batch))
        drawn = self._draw(batch)
        logits, coded = self.predict_rois(drawn.samples.rois)
        found |= _of_boxes(logits, coded, drawn.samples)
        if self._head.mask_side:
            found["mask"] = self._of_masks(batch, drawn)
        return found

    def samples(self, batch: Truth) -> Samples:
        """See the contract."""
        return self._draw(batch).samples

    def predict_rois(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """See the contract."""
        logits, coded = self._head.predict_rois(self._maps, rois)
        return logits, coded

    def detach(self) -> "RCNNRegions":
        """See the contract."""
        proposals = self._proposals
        cut = replace(proposals, objectness=proposals.objectness.detach(), offsets=proposals.offsets.detach())
        return RCNNRegions(self._head, [each.detach() for each in self._maps], cut, self._drawn)

    def _of_proposals(self, objects: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        network, proposals = self._head.rpn, self._proposals
        anchors = [proposals.anchors] * len(objects)
        labels, matched = network.assign_targets_to_anchors(anchors, objects)
        targets = network.box_coder.encode(matched, anchors)
        objectness, boxes = network.compute_loss(
            proposals.objectness.flatten(), proposals.offsets.flatten(0, 1), labels, targets
        )
        return {"objectness": objectness, "proposals": boxes}

    @torch.no_grad()
    def _draw(self, batch: Truth) -> _Drawn:
        if self._drawn is None:
            objects = objects_of(batch)
            paired = zip(self._proposals.boxes, self._proposals.alive, strict=True)
            proposals = [boxes[alive] for boxes, alive in paired]
            rois, matched, labels, _ = self._head.matching.select_training_samples(proposals, objects)
            self._drawn = _drawn(rois, matched, labels, objects, self._head.num_classes)
        return self._drawn

    def _of_masks(self, batch: Truth, drawn: _Drawn) -> Tensor:
        samples = drawn.samples
        chosen = samples.labels < self._head.num_classes
        rois, labels, objects = samples.rois[chosen], samples.labels[chosen], drawn.objects[chosen]
        logits = self._head.masked(self._maps, rois)
        if len(rois) == 0:
            return logits.sum()
        images = rois[:, 0].long()
        boxes, masks = batch["boxes"][images, objects], batch["masks"][images, objects]
        wanted = seen_through(rois[:, 1:], boxes, masks, self._head.mask_side)
        own = logits[torch.arange(len(labels), device=labels.device), labels]
        return F.binary_cross_entropy_with_logits(own, wanted)


def objects_of(batch: Truth) -> list[dict[str, Tensor]]:
    """The objects of each image in torchvision's format: boxes, and labels that start at 1."""
    return [
        {"boxes": boxes[labels >= 0].float(), "labels": labels[labels >= 0] + 1}
        for boxes, labels in zip(batch["boxes"], batch["labels"], strict=True)
    ]


def _drawn(
    rois: list[Tensor],
    matched: list[Tensor],
    labels: list[Tensor],
    objects: Sequence[Mapping[str, Tensor]],
    num_classes: int,
) -> _Drawn:
    images = [boxes.new_full((len(boxes), 1), number) for number, boxes in enumerate(rois)]
    targets = [_coded(*each) for each in zip(rois, matched, objects, strict=True)]
    joined = torch.cat(labels) - 1
    samples = Samples(
        torch.cat((torch.cat(images), torch.cat(rois)), dim=1),
        torch.where(joined < 0, num_classes, joined),
        torch.cat(targets),
    )
    return _Drawn(samples, torch.cat(matched))


def _coded(rois: Tensor, matched: Tensor, objects: Mapping[str, Tensor]) -> Tensor:
    if len(objects["boxes"]) == 0:
        return torch.zeros_like(rois)
    return code(objects["boxes"][matched], rois)


def _of_boxes(logits: Tensor, coded: Tensor, samples: Samples) -> dict[str, Tensor]:
    labels = samples.labels
    chosen = labels < coded.shape[1]
    own = coded[chosen, labels[chosen]]
    distance = F.smooth_l1_loss(own, samples.targets[chosen], beta=_BETA, reduction="sum")
    return {"classes": F.cross_entropy(logits, labels), "boxes": distance / max(1, len(labels))}


def seen_through(
    rois: Float[Tensor, "R 4"], boxes: Float[Tensor, "R 4"], masks: Tensor, side: int
) -> Float[Tensor, "R S S"]:
    """Resamples masks that span `boxes` to the regions `rois`, at side x side pixels, in [0, 1].

    Args:
        rois: regions, x1 y1 x2 y2.
        boxes: boxes of the masks.
        masks: R M M.
        side: S.
    """
    scale = masks.shape[-1] / (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    within = (rois - boxes[:, :2].repeat(1, 2)) * scale
    numbered = torch.cat((torch.arange(len(rois), device=rois.device).to(within)[:, None], within), dim=1)
    seen: Tensor = roi_align(masks[:, None].float(), numbered, side, aligned=True)
    return seen.squeeze(1)
