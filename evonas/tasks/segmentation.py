"""Semantic segmentation.

Legend: B batch, C classes, H W space. Outputs are logits B C H W; a batch contains `classes` (B H W), to whose size
outputs are resized.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evonas.data.augment import denormalise
from evonas.data.base import Images, Source, Split, check_size
from evonas.errors import UserError
from evonas.nn.auxiliary import AuxiliaryOutput, main_output
from evonas.nn.level import Level
from evonas.tasks.base import Batch, Picture
from evonas.tasks.depth import SAMPLED_IMAGES, evenly
from evonas.tasks.iou import IouMeter, to_size
from evonas.tasks.ohem import OHEM

Error = Literal["miou", "loss"]
ERROR_NAMES = {"miou": "one_minus_miou", "loss": "loss"}


class Segmentation:
    """Semantic segmentation with cross-entropy; the error is one minus mIoU, or the loss.

    Args:
        data: a source whose items contain `classes`.
        head: constructor of the head, called with `(levels, out_channels=, output=)`.
        name: name of the task, as in `+task=`.
        classes: class names in the order of their ids; None for those of the data.
        ignore_index: class id of ignored pixels.
        error: `miou` minimises 1 - mIoU, `loss` the mean over images of the mean cross-entropy over pixels, as
            EvoNAS's search on ADE20K does (without the auxiliary head).
        input_size: height and width of images for cost counting and timing; None for those of the data.
        ohem: loss that counts hard pixels alone; None for the mean over all labelled pixels.

    Raises:
        UserError: classes or error are invalid.
    """

    def __init__(
        self,
        data: Source,
        head: Callable[..., nn.Module],
        name: str,
        classes: Sequence[str] | None = None,
        ignore_index: int = 255,
        error: Error = "miou",
        input_size: Sequence[int] | None = None,
        ohem: OHEM | None = None,
    ) -> None:
        names = tuple(getattr(data, "classes", ()) if classes is None else classes)
        if len(set(names)) < 2 or len(set(names)) != len(names):
            raise UserError(f"task.classes must be at least two distinct names, got {list(names)}.")
        if error not in ERROR_NAMES:
            raise UserError(f"task.error={error} is unknown.", f"Known: {', '.join(ERROR_NAMES)}")
        self.name, self.classes, self.ignore_index = name, names, ignore_index
        self.error_name, self.error_is_mean = ERROR_NAMES[error], error == "loss"
        self.input_size = data.size if input_size is None else check_size(*input_size)
        self._data, self._head, self._ohem = data, head, ohem

    def dataset(self, split: Split) -> Images:
        """A split of the data."""
        return self._data.dataset(split)

    def head(self, levels: Sequence[Level]) -> nn.Module:
        """A head with one logit per class."""
        return self._head(levels, out_channels=len(self.classes), output="linear")

    def loss(self, output: Tensor | AuxiliaryOutput, batch: Batch) -> Tensor:
        """Mean cross-entropy over labelled pixels, or hard ones, plus the weighted losses of auxiliary heads.

        It is zero without labelled pixels.
        """
        if isinstance(output, AuxiliaryOutput):
            others = sum(output.weight * self.loss(each, batch) for each in output.others)
            return self.loss(output.main, batch) + others
        truth = batch["classes"]
        if self._ohem is not None:
            return self._ohem(to_size(output, truth.shape[-2:]), truth, self.ignore_index)
        total = F.cross_entropy(
            to_size(output, truth.shape[-2:]), truth, ignore_index=self.ignore_index, reduction="sum"
        )
        return total / (truth != self.ignore_index).sum().clamp_min(1)

    def distillation_loss(
        self, output: Tensor | AuxiliaryOutput, teacher_output: Tensor | AuxiliaryOutput, batch: Batch
    ) -> Tensor:
        """Mean KL divergence from the teacher's distribution over labelled pixels."""
        truth = batch["classes"]
        student = to_size(main_output(output), truth.shape[-2:]).log_softmax(dim=1)
        teacher = to_size(main_output(teacher_output).detach(), truth.shape[-2:]).log_softmax(dim=1)
        divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)
        counted = (truth != self.ignore_index).to(divergence.dtype)
        return (divergence * counted).sum() / counted.sum().clamp_min(1)

    def meter(self) -> IouMeter:
        """A new meter."""
        return IouMeter(self.classes, self.ignore_index, with_loss=self.error_name == "loss")

    def baseline(self) -> tuple[str, dict[str, float]]:
        """The most frequent class of `train` (or of a sample of it) at every pixel, evaluated on `test`."""
        train = self.dataset("train")
        train.augment = False
        counted = (self._count(train[i]["classes"]) for i in evenly(len(train), SAMPLED_IMAGES))
        counts = sum(counted, self._count(torch.zeros(0)))
        common = int(counts.argmax())
        logits = torch.zeros(len(self.classes))
        logits[common] = 1
        meter, test = self.meter(), self.dataset("test")
        for index in range(len(test)):
            truth = test[index]["classes"][None]
            meter.update(logits.view(1, -1, 1, 1).expand(1, -1, *truth.shape[-2:]), {"classes": truth})
        return f"always {self.classes[common]}", meter.compute()

    def pictures(self, output: Tensor, batch: Batch) -> list[dict[str, Picture]]:
        """Image at the network's input size; ground truth and prediction at the size of the mask."""
        from evonas.tasks.drawing import class_picture

        truth = batch["classes"].cpu().numpy()
        labels = to_size(output.detach().float(), truth.shape[-2:]).argmax(dim=1).cpu().numpy()
        ignored = truth == self.ignore_index
        known = np.where(ignored, 0, truth)
        return [
            {"image": image, "truth": class_picture(t, i), "prediction": class_picture(p)}
            for image, t, i, p in zip(denormalise(batch["image"]), known, ignored, labels, strict=True)
        ]

    def _count(self, truth: Tensor) -> Tensor:
        counted = truth[truth != self.ignore_index].long()
        return torch.bincount(counted, minlength=len(self.classes))
