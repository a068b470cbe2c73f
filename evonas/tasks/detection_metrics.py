"""COCO's mean average precision (mAP) of boxes and masks, computed by pycocotools.

Legend: B batch, K detections, N objects, S side of a mask in a table, H W space.
"""

import contextlib
import io
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
from evonas.tasks.base import Batch, FiniteMeter

Kind = Literal["bbox", "segm"]
NAMES = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")
# pycocotools' value of undefined metrics, such as the precision of large objects without any
_NOTHING = -1.0
Entries = list[dict[str, Any]]


class DetectionMeter(FiniteMeter):
    """Collects detections in pixels of the image files and computes mAP.

    Objects and detections go to pycocotools as its own readers would pass them: in double precision, and objects with
    the areas of the annotations, zero included, which decide between small, medium and large.

    Args:
        data: source of the ground truth, including crowds.

    Raises:
        UserError: pycocotools is not installed.
    """

    def __init__(self, data: ObjectSource) -> None:
        if find_spec("pycocotools") is None:
            raise UserError("The mAP needs pycocotools.", "pip install 'evonas[det]'")
        self._data, self._images = data, 0
        self._kinds: tuple[Kind, ...] = ("bbox", "segm") if data.has_masks else ("bbox",)
        self._truths: Entries = []
        self._found: dict[Kind, Entries] = {kind: [] for kind in self._kinds}

    def _add(self, output: Tensor, batch: Batch) -> None:
        """Adds the detection tables B K ... of a batch without augmentation."""
        tables = output.float().cpu()
        for table, scale, picture in zip(tables, batch["scale"], batch["picture"], strict=True):
            part, place = picture.tolist()
            objects = self._data.objects(part, place)
            self._images += 1
            found = table[table[:, SCORE] > 0]
            boxes = on_file(found[:, BOX].double().numpy(), scale.tolist(), objects)
            self._add_truths(objects)
            common = [
                {"image_id": self._images, "category_id": int(label), "score": score, "iscrowd": 0}
                for score, label in found[:, [SCORE, LABEL]].tolist()
            ]
            for row, box in zip(common, _corner_and_sides(boxes), strict=True):
                self._found["bbox"].append({**row, "bbox": box, "area": box[2] * box[3]})
            if "segm" in self._found:
                for row, runs in zip(common, self._masks(found, boxes, objects), strict=True):
                    self._found["segm"].append({**row, "segmentation": runs, "area": _area(runs)})

    def _metrics(self) -> dict[str, float]:
        """one_minus_map, map, map_50 ... of boxes, and mask_map ... where there are masks.

        Undefined metrics, such as those of large objects without any, are omitted.

        Raises:
            UserError: no image has an object.
        """
        if all(each["iscrowd"] for each in self._truths):
            raise UserError("No image of the split has an object.", "Check the annotations.")
        found: dict[str, float] = {}
        for kind in self._kinds:
            prefix = "" if kind == "bbox" else "mask_"
            values = _precisions(kind, self._truths, self._found[kind], self._images)
            found |= {f"{prefix}{name}": value for name, value in zip(NAMES, values, strict=True)}
        kept = {name: value for name, value in found.items() if value != _NOTHING and math.isfinite(value)}
        return {"one_minus_map": 1 - kept["map"], **kept}

    def _add_truths(self, objects: Objects) -> None:
        size = objects.height, objects.width
        boxes = _corner_and_sides(objects.boxes)
        for place, (box, label) in enumerate(zip(boxes, objects.labels.tolist(), strict=True)):
            shapes = (
                {"segmentation": _encoded(decoded(objects.shapes[place], *size))} if objects.shapes else {}
            )
            self._truths.append(
                {
                    "image_id": self._images,
                    "category_id": label,
                    "bbox": box,
                    "area": float(objects.areas[place]),
                    "iscrowd": int(objects.crowd[place]),
                    **shapes,
                }
            )

    def _masks(self, found: Tensor, boxes: np.ndarray, objects: Objects) -> Entries:
        """The detected masks in the pixels of the file, as run lengths."""
        side = math.isqrt(found.shape[1] - PLAIN)
        if side == 0:
            raise UserError("The head predicts no masks.", "Use head=mask_rcnn, or data.masks=false.")
        masks = found[:, PLAIN:].view(-1, 1, side, side)
        pasted = paste_masks_in_image(
            masks, torch.from_numpy(boxes).float(), (objects.height, objects.width)
        )[:, 0]
        return [_encoded(mask.numpy()) for mask in pasted > 0.5]


def _precisions(kind: Kind, truths: Entries, found: Entries, images: int) -> list[float]:
    """The values of NAMES. Entries are those of COCO's documents; images count from one."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    classes = sorted({each["category_id"] for each in (*truths, *found)})
    # pycocotools prints every step
    with contextlib.redirect_stdout(io.StringIO()):
        both = []
        for entries in (truths, found):
            document = COCO()
            document.dataset = {
                "images": [{"id": number, "height": 0, "width": 0} for number in range(1, images + 1)],
                "categories": [{"id": label} for label in classes],
                # an id of zero would stand for no match
                "annotations": [{**each, "id": number} for number, each in enumerate(entries, start=1)],
            }
            document.createIndex()
            both.append(document)
        evaluation = COCOeval(*both, iouType=kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats[: len(NAMES)]]


def _corner_and_sides(boxes: np.ndarray) -> list[list[float]]:
    """Boxes x1 y1 x2 y2 as x y width height."""
    found: list[list[float]] = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
    return found


def _encoded(mask: np.ndarray) -> dict[str, Any]:
    """The run lengths of a mask H W."""
    from pycocotools import mask as masks

    runs: dict[str, Any] = masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    return runs


def _area(runs: dict[str, Any]) -> float:
    from pycocotools import mask as masks

    return float(masks.area(runs))
