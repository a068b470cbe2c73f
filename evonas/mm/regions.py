"""mmdet's losses of `MMDetRCNN` on one batch, with mmdet's assignment and sampling.

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
        rpn_outputs: objectness logits and offsets of each map.
        sampled: mmdet's sampling results, one for each image; None to sample when they are needed.
    """

    def __init__(
        self,
        head: Any,
        maps: list[Tensor],
        size: tuple[int, int],
        rpn_outputs: tuple[list[Tensor], list[Tensor]],
        sampled: list[Any] | None = None,
    ) -> None:
        self._head, self._maps, self._size = head, maps, size
        self._rpn_outputs, self._sampled = rpn_outputs, sampled

    def losses(self, batch: Truth) -> dict[str, Tensor]:
        """See the contract: of the proposal network, of the box head, and of masks where there are any."""
        objects, sampled, head = _instances(batch), self._sample(batch), self._head
        # a proposal network has one class, number 0; any other label would be background
        for each in objects:
            each.labels = torch.zeros_like(each.labels)
        found = head.rpn.loss_by_feat(*self._rpn_outputs, objects, self._image_metas(len(objects)))
        rois = self._rois([each.priors for each in sampled])
        logits, coded = self.predict_rois(rois)
        boxes = head.roi.bbox_head.loss_and_target(
            logits, coded.flatten(1), rois, sampled, head.roi.train_cfg
        )["loss_bbox"]
        losses = {
            "objectness": _total(found["loss_rpn_cls"]),
            "proposals": _total(found["loss_rpn_bbox"]),
            "classes": boxes["loss_cls"],
            "boxes": boxes["loss_bbox"],
        }
        return losses | ({"mask": self._mask_loss(batch, sampled)} if head.mask_side else {})

    def samples(self, batch: Truth) -> Samples:
        """See the contract."""
        sampled, head = self._sample(batch), self._head
        labels, _, targets, _ = head.roi.bbox_head.get_targets(sampled, head.roi.train_cfg)
        return Samples(self._rois([each.priors for each in sampled]), labels, targets)

    def predict_rois(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """See the contract."""
        logits, coded = self._head.predict_rois(self._maps, rois)
        return logits, coded

    def detach(self) -> "MMDetRegions":
        """See the contract."""
        logits, offsets = ([each.detach() for each in part] for part in self._rpn_outputs)
        maps = [each.detach() for each in self._maps]
        return MMDetRegions(self._head, maps, self._size, (logits, offsets), self._sampled)

    @torch.no_grad()
    def _sample(self, batch: Truth) -> list[Any]:
        if self._sampled is None:
            from mmengine.config import ConfigDict

            head, objects = self._head, _instances(batch)
            limits = ConfigDict(settings.training_proposals(head.training_proposals))
            outputs = ([each.float() for each in part] for part in self._rpn_outputs)
            metas = self._image_metas(len(objects))
            proposals = head.rpn.predict_by_feat(*outputs, batch_img_metas=metas, cfg=limits)
            self._sampled = [self._matched(*each) for each in zip(proposals, objects, strict=True)]
        return self._sampled

    def _matched(self, proposals: Any, objects: Any) -> Any:
        """The sampling result of one image."""
        proposals.priors = proposals.pop("bboxes")
        roi = self._head.roi
        return roi.bbox_sampler.sample(roi.bbox_assigner.assign(proposals, objects), proposals, objects)

    def _mask_loss(self, batch: Truth, sampled: list[Any]) -> Tensor:
        head = self._head
        rois = self._rois([each.pos_priors for each in sampled])
        logits: Tensor = head.masked(self._maps, rois)
        if len(rois) == 0:
            return logits.sum()
        labels = torch.cat([each.pos_gt_labels for each in sampled])
        indices = [each.pos_assigned_gt_inds for each in sampled]
        boxes, masks = (_rows(batch, name, indices) for name in ("boxes", "masks"))
        wanted = seen_through(rois[:, 1:], boxes.float(), masks, head.mask_side)
        loss: Tensor = head.roi.mask_head.loss_mask(logits, (wanted >= 0.5).to(logits), labels)
        return loss.sum()

    def _rois(self, boxes: list[Tensor]) -> Tensor:
        numbered = [torch.cat((each.new_full((len(each), 1), n), each), 1) for n, each in enumerate(boxes)]
        return torch.cat(numbered)

    def _image_metas(self, count: int) -> list[Mapping[str, Any]]:
        """mmdet's metadata of each image."""
        return [{"img_shape": self._size, "pad_shape": self._size, "scale_factor": (1.0, 1.0)}] * count


def _instances(batch: Truth) -> list[Any]:
    """The ground truth of each image as mmdet's InstanceData."""
    from mmengine.structures import InstanceData

    return [
        InstanceData(bboxes=boxes[labels >= 0].float(), labels=labels[labels >= 0])
        for boxes, labels in zip(batch["boxes"], batch["labels"], strict=True)
    ]


def _rows(batch: Truth, name: str, indices: list[Tensor]) -> Tensor:
    """Rows of the ground truth by the object indices of each image."""
    each = zip(batch[name], batch["labels"], indices, strict=True)
    return torch.cat([rows[labels >= 0][kept] for rows, labels, kept in each])


def _total(losses: Tensor | list[Tensor]) -> Tensor:
    """The sum of mmdet's losses, one for each level."""
    return losses if isinstance(losses, Tensor) else torch.stack(losses).sum()
