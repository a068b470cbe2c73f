"""Semantic segmentation: a class for every pixel.

Legend: B batch, C classes, H W space. Outputs are logits B C H W; `classes` in a batch
is B H W and may be larger than the output, which is then resized to it.
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

Error = Literal["miou", "loss"]
ERROR_NAMES = {"miou": "one_minus_miou", "loss": "loss"}


class Segmentation:
    """Learns by cross-entropy; judged by one minus the mean intersection over union, or by the loss.

    Args:
        data: a source whose items hold `classes`.
        head: makes the head from `(levels, out_channels=, output=)`.
        name: what follows `+task=`.
        classes: names, in the order of their numbers; None for those that the data names.
        ignore_index: the number of pixels that do not count.
        error: what is minimised: `miou` (one minus it), or `loss`, the mean over images of the mean
            cross-entropy over pixels, as the original searches ADE20K (without its auxiliary head's part).
        input_size: of the images that costs are counted and timed on; None for the data's.
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
    ) -> None:
        names = tuple(getattr(data, "classes", ()) if classes is None else classes)
        if len(set(names)) < 2 or len(set(names)) != len(names):
            raise UserError(f"task.classes={list(names)} needs two or more different names.")
        if error not in ERROR_NAMES:
            raise UserError(f"task.error={error} is unknown.", f"Known: {', '.join(ERROR_NAMES)}")
        self.name, self.classes, self.ignore_index = name, names, ignore_index
        self.error_name, self.error_is_mean = ERROR_NAMES[error], error == "loss"
        self.input_size = data.size if input_size is None else check_size(*input_size)
        self._data, self._head = data, head

    def dataset(self, split: Split) -> Images:
        """A split of the data."""
        return self._data.dataset(split)

    def head(self, levels: Sequence[Level]) -> nn.Module:
        """A head that gives one logit per class."""
        return self._head(levels, out_channels=len(self.classes), output="linear")

    def loss(self, output: Tensor | AuxiliaryOutput, batch: Batch) -> Tensor:
        """Mean cross-entropy over pixels that have a class; zero where none has.

        Where an auxiliary head answers beside, its own is added by its weight.
        """
        if isinstance(output, AuxiliaryOutput):
            return self.loss(output.main, batch) + output.weight * self.loss(output.auxiliary, batch)
        truth = batch["classes"]
        total = F.cross_entropy(
            to_size(output, truth.shape[-2:]), truth, ignore_index=self.ignore_index, reduction="sum"
        )
        return total / (truth != self.ignore_index).sum().clamp_min(1)

    def distillation_loss(
        self, output: Tensor | AuxiliaryOutput, teacher_output: Tensor | AuxiliaryOutput, batch: Batch
    ) -> Tensor:
        """Mean KL divergence from the teacher's distribution over pixels that have a class."""
        truth = batch["classes"]
        student = to_size(main_output(output), truth.shape[-2:]).log_softmax(dim=1)
        teacher = to_size(main_output(teacher_output).detach(), truth.shape[-2:]).log_softmax(dim=1)
        divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)
        counted = (truth != self.ignore_index).to(divergence.dtype)
        return (divergence * counted).sum() / counted.sum().clamp_min(1)

    def meter(self) -> IouMeter:
        """An empty confusion matrix."""
        return IouMeter(self.classes, self.ignore_index, with_loss=self.error_name == "loss")

    def baseline(self) -> tuple[str, dict[str, float]]:
        """The class with most pixels in `train` (or in a sample of it), everywhere, scored on `test`."""
        train = self.dataset("train")
        train.augment = False
        counted = (self._count(train[i]["classes"]) for i in evenly(len(train), SAMPLED_IMAGES))
        counts = sum(counted, self._count(torch.zeros(0)))
        common = int(counts.argmax())
        meter, test = self.meter(), self.dataset("test")
        for index in range(len(test)):
            truth = test[index]["classes"][None]
            meter.update(self._constant(common, truth), {"classes": truth})
        return f"always {self.classes[common]}", meter.compute()

    def pictures(self, output: Tensor, batch: Batch) -> list[dict[str, Picture]]:
        """Image at the network's size; truth and prediction at the mask's."""
        from evonas.tasks.palette import class_picture

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

    def _constant(self, number: int, truth: Tensor) -> Tensor:
        logits = torch.zeros(len(self.classes))
        logits[number] = 1
        return logits.view(1, -1, 1, 1).expand(len(truth), -1, *truth.shape[-2:])
