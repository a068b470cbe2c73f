"""Intersection over union from one confusion matrix over a whole split.

Legend: B batch, C classes, H W space.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from evonas.errors import UserError


def to_size(output: Tensor, size: Sequence[int]) -> Tensor:
    """Logits B C H W, resized bilinearly to a mask's height and width where they differ."""
    if tuple(output.shape[-2:]) == tuple(size):
        return output
    return F.interpolate(output, size=tuple(size), mode="bilinear", align_corners=False)


class IouMeter:
    """Counts truth against prediction, pixel by pixel, at the resolution of the masks.

    Args:
        classes: names, in the order of their numbers.
        ignore_index: the number of pixels that do not count.
    """

    def __init__(self, classes: Sequence[str], ignore_index: int) -> None:
        self.classes, self.ignore_index = tuple(classes), ignore_index
        self._confusion = torch.zeros(len(self.classes), len(self.classes), dtype=torch.int64)

    def update(self, output: Tensor, batch: Mapping[str, Tensor]) -> None:
        """Count a batch of logits; they are resized to the masks first."""
        truth = batch["classes"]
        prediction = to_size(output.detach().float(), truth.shape[-2:]).argmax(dim=1)
        counted = truth != self.ignore_index
        cells = truth[counted] * len(self.classes) + prediction[counted]
        counts = torch.bincount(cells, minlength=self._confusion.numel())
        self._confusion += counts.view_as(self._confusion).cpu()

    def compute(self) -> dict[str, float]:
        """one_minus_miou, miou, pixel_accuracy and iou_<class>; a class that never occurs is left out."""
        right = self._confusion.diagonal().double()
        union = self._confusion.sum(0) + self._confusion.sum(1) - self._confusion.diagonal()
        total = self._confusion.sum()
        if total == 0:
            raise UserError("No pixel of the split has a class.", "Check task.ignore_index and the masks.")
        occurs = union > 0
        ious = right[occurs] / union[occurs]
        names = [name for name, there in zip(self.classes, occurs.tolist(), strict=True) if there]
        miou = float(ious.mean())
        return {
            "one_minus_miou": 1 - miou,
            "miou": miou,
            "pixel_accuracy": float(right.sum() / total),
            **{f"iou_{name}": value for name, value in zip(names, ious.tolist(), strict=True)},
        }
