"""COCO's mean average precision (mAP) of boxes and masks, computed by pycocotools.

Legend: B batch, K detections, N objects, S side of a mask in a table, H W space.
"""

import logging
import math
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from evonas.data.detection.base import Objects, ObjectSource
from evonas.data.detection.coco import on_file
from evonas.data.detection.instance_masks import decoded
from evonas.errors import UserError
from evonas.nn.detection.base import BOX, LABEL, PLAIN, SCORE
from evonas.tasks.base import Batch

Kind = Literal["bbox", "segm"]
NAMES = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")
# pycocotools' value of undefined metrics, such as the precision of large objects without any
_NOTHING = -1.0


class DetectionMeter:
    """Collects detections in pixels of the image files and computes mAP.

    Args:
        data: source of the ground truth, including crowds.
    """

    def __init__(self, data: ObjectSource) -> None:
        self._data, self._is_empty = data, True
        kinds: tuple[Kind, ...] = ("bbox", "segm") if data.has_masks else ("bbox",)
        self._evaluators: dict[str, Any] = {kind: _evaluator(kind) for kind in kinds}

    def update(self, output: Tensor, batch: Batch) -> None:
        """Adds the detection tables B K ... of a batch without augmentation."""
        tables = output.detach().float().cpu()
        for table, scale, picture in zip(tables, batch["scale"], batch["picture"], strict=True):
            part, place = picture.tolist()
            objects = self._data.objects(part, place)
            self._is_empty = self._is_empty and len(objects.single()) == 0
            found = table[table[:, SCORE] > 0]
            boxes = torch.from_numpy(on_file(found[:, BOX].numpy().astype(float), scale.tolist(), objects))
            plain = {"boxes": boxes.float(), "scores": found[:, SCORE], "labels": found[:, LABEL].long()}
            self._evaluators["bbox"].update([plain], [_truth(objects)])
            if "segm" in self._evaluators:
                self._add_masks(plain, found, objects)

    def compute(self) -> dict[str, float]:
        """one_minus_map, map, map_50 ... of boxes, and mask_map ... where there are masks.

        Undefined metrics, such as those of large objects without any, are omitted.

        Raises:
            UserError: no image has an object.
        """
        if self._is_empty:
            raise UserError("No image of the split has an object.", "Check the annotations.")
        found: dict[str, float] = {}
        for kind, evaluator in self._evaluators.items():
            prefix = "" if kind == "bbox" else "mask_"
            values = _computed(evaluator)
            found |= {f"{prefix}{name}": float(values[name]) for name in NAMES}
        kept = {name: value for name, value in found.items() if value != _NOTHING and math.isfinite(value)}
        return {"one_minus_map": 1 - kept["map"], **kept}

    def _add_masks(self, plain: dict[str, Tensor], found: Tensor, objects: Objects) -> None:
        size = objects.height, objects.width
        side = math.isqrt(found.shape[1] - PLAIN)
        if side == 0:
            raise UserError("The head predicts no masks.", "Use head=mask_rcnn, or data.masks=false.")
        masks = found[:, PLAIN:].view(-1, 1, side, side)
        pasted = paste_masks_in_image(masks, plain["boxes"], size)[:, 0] > 0.5
        truths = [decoded(shape, *size) for shape in objects.shapes]
        known = np.stack(truths) if truths else np.zeros((0, *size))
        truth = {**_truth(objects), "masks": torch.from_numpy(known).bool()}
        self._evaluators["segm"].update([{**plain, "masks": pasted}], [truth])


def _evaluator(kind: Kind) -> Any:
    if find_spec("pycocotools") is None:
        raise UserError("The mAP needs pycocotools.", "pip install 'evonas[det]'")
    from torchmetrics.detection import MeanAveragePrecision

    evaluator = MeanAveragePrecision(iou_type=kind, backend="pycocotools")
    evaluator.warn_on_many_detections = False
    return evaluator


def _computed(evaluator: Any) -> dict[str, Tensor]:
    # pycocotools' backend logs every step to the root logger
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        values: dict[str, Tensor] = evaluator.compute()
    finally:
        logging.disable(before)
    return values


def _truth(objects: Objects) -> dict[str, Tensor]:
    return {
        "boxes": torch.from_numpy(objects.boxes).float(),
        "labels": torch.from_numpy(objects.labels),
        "area": torch.from_numpy(objects.areas).float(),
        "iscrowd": torch.from_numpy(objects.crowd.astype(np.int64)),
    }
