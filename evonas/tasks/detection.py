"""Object detection and instance segmentation.

Legend: B batch, C classes, K detections, N objects, R regions, H W space. Heads and outputs are those of
`evonas/nn/detection/base.py`, items those of `evonas/data/detection/base.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms, box_iou

from evonas.data.augment import denormalise
from evonas.data.base import Images, Split
from evonas.data.detection.base import EMPTY, ObjectSource
from evonas.errors import UserError
from evonas.nn.detection.base import BOX, LABEL, SCORE, Regions, Samples
from evonas.nn.level import Level
from evonas.tasks.base import Batch, Picture
from evonas.tasks.detection_metrics import DetectionMeter

# weights of distillation terms (Chen et al., NeurIPS 2017, with EvoNAS's values)
BACKGROUND = 1.5
REGRESSION = 0.5
# settings of the constant baseline
_EXAMPLES = 2000
_GUESSES = 100
_ALIKE = 0.5


class Detection:
    """Object detection with the losses of its head; the error is one minus COCO's box mAP.

    Args:
        data: see `evonas/data/detection/base.py`.
        head: constructor of the head, called with `(levels, num_classes=)`.
        name: name of the task, as in `+task=`.
        shown: minimum score of detections in visualisations.
    """

    error_name = "one_minus_map"
    error_is_mean = False

    def __init__(
        self, data: ObjectSource, head: Callable[..., nn.Module], name: str, shown: float = 0.3
    ) -> None:
        self.name, self.shown, self.input_size = name, shown, data.size
        self._data, self._head = data, head

    def dataset(self, split: Split) -> Images:
        """A split of the data."""
        return self._data.dataset(split)

    def head(self, levels: Sequence[Level]) -> nn.Module:
        """A head for the classes of the training annotations.

        Raises:
            UserError: the head needs masks, and the data has none.
        """
        return self.head_with(levels, {})

    def head_with(self, levels: Sequence[Level], settings: Mapping[str, Any]) -> nn.Module:
        """The head with keywords that override its config, for teacher backbones.

        Raises:
            UserError: the head needs masks, and the data has none.
        """
        made: Any = self._head(levels, num_classes=len(self._data.class_names()), **settings)
        if made.mask_side and not self._data.has_masks:
            raise UserError("This head needs masks.", "Use data.masks=true, or head=faster_rcnn.")
        net: nn.Module = made
        return net

    def loss(self, output: Regions, batch: Batch) -> Tensor:
        """The sum of the head's losses."""
        return torch.stack(list(output.losses(batch).values())).sum()

    def distillation_loss(self, output: Regions, teacher_output: Any, batch: Batch) -> Tensor:
        """Class and box losses against the teacher's box head, on the student's sampled regions.

        Masks and proposals are not distilled.

        Raises:
            UserError: the teacher's output is a cached table of detections.
        """
        if not isinstance(teacher_output, Regions):
            raise UserError(
                "Distillation of detectors needs the teacher's predictions of regions, which are not cached.",
                "Use distill.cache=false, or distill.ratio=0.",
            )
        samples = output.samples(batch)
        with torch.no_grad():
            teacher = teacher_output.predict_rois(samples.rois)
        logits, boxes = output.predict_rois(samples.rois)
        return soft_classes(logits, teacher[0]) + bounded_boxes(boxes, teacher[1], samples)

    def meter(self) -> DetectionMeter:
        """A new meter; it reads ground truth from the data."""
        return DetectionMeter(self._data)

    def baseline(self) -> tuple[str, dict[str, float]]:
        """The most frequent boxes of training images as detections in every image of `test`."""
        train: Any = self.dataset("train")
        test: Any = self.dataset("test")
        guess, meter = common_boxes([train.described(place) for place in _spread(len(train))]), self.meter()
        if self._data.has_masks:
            # masks that fill their boxes
            guess = torch.cat((guess, torch.ones(len(guess), 1)), dim=1)
        for place in range(len(test)):
            meter.update(guess[None], {key: value[None] for key, value in test.described(place).items()})
        return "boxes that are common in training", meter.compute()

    def pictures(self, output: Tensor, batch: Batch) -> list[dict[str, Picture]]:
        """Boxes in the colours of their classes: ground truth, and detections above the minimum score."""
        from evonas.tasks.drawing import boxes_drawn

        found = []
        for row, image in enumerate(denormalise(batch["image"])):
            table, truth = output[row].detach().float(), batch["labels"][row]
            sure = table[table[:, SCORE] >= self.shown]
            known = truth != EMPTY
            found.append(
                {
                    "image": image,
                    "truth": boxes_drawn(image, batch["boxes"][row][known], truth[known]),
                    "prediction": boxes_drawn(image, sure[:, BOX], sure[:, LABEL].long()),
                }
            )
        return found


def soft_classes(student: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy with the teacher's class distribution, from logits R (C + 1); background has weight 1.5."""
    weights = torch.ones(student.shape[1], device=student.device)
    weights[-1] = BACKGROUND
    wanted = teacher.softmax(dim=1) * weights
    return -(wanted * student.log_softmax(dim=1)).sum(dim=1).mean()


def bounded_boxes(student: Tensor, teacher: Tensor, samples: Samples) -> Tensor:
    """Squared error of coded boxes R C 4 where it exceeds the teacher's, else zero (Chen et al., NeurIPS 2017)."""
    chosen = samples.labels < student.shape[1]
    labels, targets = samples.labels[chosen], samples.targets[chosen]
    if len(labels) == 0:
        return student.sum() * 0
    own, theirs = ((each[chosen, labels] - targets).square().sum(dim=1) for each in (student, teacher))
    return REGRESSION * 0.5 * torch.where(own > theirs, own, 0.0).mean()


def common_boxes(items: Sequence[Batch]) -> Tensor:
    """A table of the boxes with the most similar boxes of their class, scored by the share of similar ones."""
    boxes = torch.cat([item["boxes"][item["labels"] != EMPTY] for item in items])
    labels = torch.cat([item["labels"][item["labels"] != EMPTY] for item in items])
    places = _spread(len(boxes))
    boxes, labels = boxes[places], labels[places]
    alike = (box_iou(boxes, boxes) >= _ALIKE) & (labels[:, None] == labels)
    scores = alike.sum(dim=1).float() / max(1, len(boxes))
    kept = batched_nms(boxes, scores, labels, _ALIKE)[:_GUESSES]
    return torch.cat((boxes[kept], scores[kept, None], labels[kept, None].float()), dim=1)


def _spread(count: int) -> list[int]:
    """Evenly spaced indices below `count`, at most the sample size."""
    found: list[int] = np.unique(np.linspace(0, count - 1, min(count, _EXAMPLES)).astype(int)).tolist()
    return found
