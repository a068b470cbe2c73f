"""Mean intersection over union (mIoU) from one confusion matrix over a split.

Legend: B batch, C classes, H W space.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from evonas.errors import UserError
from evonas.tasks.base import FiniteMeter

# maximum number of classes with individual IoU metrics
SHOWN_CLASSES = 32


def to_size(output: Tensor, size: Sequence[int]) -> Tensor:
    """Resizes logits B C H W bilinearly to the height and width of a mask."""
    if tuple(output.shape[-2:]) == tuple(size):
        return output
    return F.interpolate(output, size=tuple(size), mode="bilinear", align_corners=False)


class IouMeter(FiniteMeter):
    """Accumulates a confusion matrix at the resolution of the masks.

    Args:
        classes: class names in the order of their ids.
        ignore_index: class id of ignored pixels.
        with_loss: whether the cross-entropy is averaged as well.
    """

    def __init__(self, classes: Sequence[str], ignore_index: int, with_loss: bool = False) -> None:
        self.classes, self.ignore_index = tuple(classes), ignore_index
        self._confusion = torch.zeros(len(self.classes), len(self.classes), dtype=torch.int64)
        self._with_loss, self._losses = with_loss, list[float]()

    def _add(self, output: Tensor, batch: Mapping[str, Tensor]) -> None:
        """Adds a batch of logits, which are resized to the masks."""
        for logits, truth in zip(output, batch["classes"], strict=True):
            # image by image, since 150 classes at the size of a batch of masks need too much memory
            self._count(to_size(logits[None].float(), truth.shape), truth)

    def _count(self, logits: Tensor, truth: Tensor) -> None:
        counted = truth != self.ignore_index
        cells = truth[counted] * len(self.classes) + logits[0].argmax(dim=0)[counted]
        counts = torch.bincount(cells, minlength=self._confusion.numel())
        self._confusion += counts.view_as(self._confusion).cpu()
        if self._with_loss and counted.any():
            self._losses.append(float(F.cross_entropy(logits, truth[None], ignore_index=self.ignore_index)))

    def _metrics(self) -> dict[str, float]:
        """one_minus_miou, miou and pixel_accuracy; the mean excludes classes that never occur.

        With at most SHOWN_CLASSES classes there is iou_<class> for each. `loss`, if requested, is the mean over images
        of the mean cross-entropy over pixels, in nats.
        """
        right = self._confusion.diagonal().double()
        union = self._confusion.sum(0) + self._confusion.sum(1) - self._confusion.diagonal()
        total = self._confusion.sum()
        if total == 0:
            raise UserError("No pixel of the split has a class.", "Check task.ignore_index and the masks.")
        occurs = union > 0
        ious = right[occurs] / union[occurs]
        miou = float(ious.mean())
        names = [name for name, found in zip(self.classes, occurs.tolist(), strict=True) if found]
        each = {f"iou_{name}": value for name, value in zip(names, ious.tolist(), strict=True)}
        return {
            "one_minus_miou": 1 - miou,
            "miou": miou,
            "pixel_accuracy": float(right.sum() / total),
            **({"loss": math.fsum(self._losses) / len(self._losses)} if self._with_loss else {}),
            **(each if len(self.classes) <= SHOWN_CLASSES else {}),
        }
