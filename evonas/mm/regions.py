"""What `MMDetRCNN` learns from: mmdet's losses on one batch, by mmdet's rules of matching and sampling.

Legend: B batch, C classes, N objects, R regions, S side of a mask.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from evonas.mm import settings
from evonas.nn.detection.base import Samples, Truth
from evonas.nn.detection.regions import seen_through


class MMDetRegions:
    """See `Regions` in `nn/detection/base.py`.

    Args:
        head: an `MMDetRCNN`.
        maps: its pyramid.
        size: height and width of the images.
        said: what its proposal network says of the maps, as logits and offsets of each.
        drawn: mmdet's sampling results, one an image, that were drawn already.
    """

    def __init__(
        self,
        head: Any,
        maps: list[Tensor],
        size: tuple[int, int],
        said: tuple[list[Tensor], list[Tensor]],
        drawn: list[Any] | None = None,
    ) -> None:
        self._head, self._maps, self._size, self._said, self._drawn = head, maps, size, said, drawn

    def losses(self, batch: Truth) -> dict[str, Tensor]:
        """See the contract: of the proposal network, of the box head, and of masks where there are any."""
        objects, drawn, head = _anything(batch), self._draw(batch), self._head
        found = head.rpn.loss_by_feat(*self._said, objects, self._about(len(objects)))
        rois = self._rois([each.priors for each in drawn])
        logits, coded = self.predict_rois(rois)
        boxes = head.roi.bbox_head.loss_and_target(logits, coded.flatten(1), rois, drawn, head.roi.train_cfg)[
            "loss_bbox"
        ]
        losses = {
            "objectness": _total(found["loss_rpn_cls"]),
            "proposals": _total(found["loss_rpn_bbox"]),
            "classes": boxes["loss_cls"],
            "boxes": boxes["loss_bbox"],
        }
        return losses | ({"mask": self._of_masks(batch, drawn)} if head.mask_side else {})

    def samples(self, batch: Truth) -> Samples:
        """See the contract."""
        drawn, head = self._draw(batch), self._head
        labels, _, targets, _ = head.roi.bbox_head.get_targets(drawn, head.roi.train_cfg)
        return Samples(self._rois([each.priors for each in drawn]), labels, targets)

    def predict_rois(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """See the contract."""
        logits, coded = self._head.predict_rois(self._maps, rois)
        return logits, coded

    def detach(self) -> "MMDetRegions":
        """See the contract."""
        logits, offsets = ([each.detach() for each in part] for part in self._said)
        maps = [each.detach() for each in self._maps]
        return MMDetRegions(self._head, maps, self._size, (logits, offsets), self._drawn)

    @torch.no_grad()
    def _draw(self, batch: Truth) -> list[Any]:
        if self._drawn is None:
            from mmengine.config import ConfigDict

            head, objects = self._head, _instances(batch)
            limits = ConfigDict(settings.training_proposals(head.training_proposals))
            said = ([each.float() for each in part] for part in self._said)
            about = self._about(len(objects))
            proposals = head.rpn.predict_by_feat(*said, batch_img_metas=about, cfg=limits)
            self._drawn = [self._matched(*each) for each in zip(proposals, objects, strict=True)]
        return self._drawn

    def _matched(self, proposals: Any, objects: Any) -> Any:
        """The sampling result of one image."""
        proposals.priors = proposals.pop("bboxes")
        roi = self._head.roi
        return roi.bbox_sampler.sample(roi.bbox_assigner.assign(proposals, objects), proposals, objects)

    def _of_masks(self, batch: Truth, drawn: list[Any]) -> Tensor:
        head = self._head
        rois = self._rois([each.pos_priors for each in drawn])
        logits: Tensor = head.masked(self._maps, rois)
        if len(rois) == 0:
            return logits.sum()
        labels = torch.cat([each.pos_gt_labels for each in drawn])
        numbers = [each.pos_assigned_gt_inds for each in drawn]
        boxes, masks = (_chosen(batch, name, numbers) for name in ("boxes", "masks"))
        wanted = seen_through(rois[:, 1:], boxes.float(), masks, head.mask_side)
        loss: Tensor = head.roi.mask_head.loss_mask(logits, (wanted >= 0.5).to(logits), labels)
        return loss.sum()

    def _rois(self, boxes: list[Tensor]) -> Tensor:
        numbered = [torch.cat((each.new_full((len(each), 1), n), each), 1) for n, each in enumerate(boxes)]
        return torch.cat(numbered)

    def _about(self, count: int) -> list[Mapping[str, Any]]:
        """What mmdet wants to know of each image."""
        return [{"img_shape": self._size, "pad_shape": self._size, "scale_factor": (1.0, 1.0)}] * count


def _instances(batch: Truth) -> list[Any]:
    """The objects of each image as mmdet wants them."""
    from mmengine.structures import InstanceData

    return [
        InstanceData(bboxes=boxes[labels >= 0].float(), labels=labels[labels >= 0])
        for boxes, labels in zip(batch["boxes"], batch["labels"], strict=True)
    ]


def _anything(batch: Truth) -> list[Any]:
    """Likewise for a proposal network: its one class is number 0, and any other would be background to it."""
    objects = _instances(batch)
    for each in objects:
        each.labels = torch.zeros_like(each.labels)
    return objects


def _chosen(batch: Truth, name: str, numbers: list[Tensor]) -> Tensor:
    """Rows of the truth by the numbers of the objects of each image."""
    each = zip(batch[name], batch["labels"], numbers, strict=True)
    return torch.cat([rows[labels >= 0][chosen] for rows, labels, chosen in each])


def _total(losses: Tensor | list[Tensor]) -> Tensor:
    """mmdet gives one loss a level."""
    return losses if isinstance(losses, Tensor) else torch.stack(losses).sum()
