"""Image classification.

Legend: B batch, C classes. Outputs are logits B C; a batch contains `label` (B), and with mixup or cutmix also
`partner` (B, the second class) and `share` (B, the weight of `label`).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evonas.data.augment import denormalise
from evonas.data.base import Images, Split
from evonas.errors import UserError
from evonas.nn.level import Level
from evonas.tasks.base import Batch, Picture
from evonas.tasks.classification_metrics import TopMeter


class Labelled(Protocol):
    """A source whose items contain `label` and whose number of classes is known without reading data."""

    size: tuple[int, int]
    num_classes: int

    def dataset(self, split: Split) -> Images: ...

    def labels(self, split: Split) -> Sequence[int]: ...

    def class_names(self) -> Sequence[str]: ...


class Classification:
    """Image classification with label-smoothed cross-entropy; the error is one minus the top-1 accuracy.

    Args:
        data: a source whose items contain `label`.
        head: constructor of the head, called with `(levels, out_channels=, output=)`.
        name: name of the task, as in `+task=`.
        smoothing: label smoothing, in [0, 1).
        temperature: softmax temperature of distillation (Hinton et al., arXiv 1503.02531).

    Raises:
        UserError: smoothing or temperature is out of range.
    """

    error_name = "error"
    error_is_mean = True
    # the loss takes mixed images
    mixes = True

    def __init__(
        self,
        data: Labelled,
        head: Callable[..., nn.Module],
        name: str,
        smoothing: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        if not 0 <= smoothing < 1:
            raise UserError(f"task.smoothing must be in [0, 1), got {smoothing}.", "Try task.smoothing=0.1.")
        if temperature <= 0:
            raise UserError(
                f"task.temperature must be positive, got {temperature}.", "Try task.temperature=1."
            )
        self.name, self.smoothing, self.temperature = name, float(smoothing), float(temperature)
        self.input_size = data.size
        self.num_classes = data.num_classes
        self._data, self._head = data, head

    def dataset(self, split: Split) -> Images:
        """A split of the data."""
        return self._data.dataset(split)

    def head(self, levels: Sequence[Level]) -> nn.Module:
        """A head with one logit per class."""
        return self._head(levels, out_channels=self.num_classes, output="linear")

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy with smoothed targets, which are mixed for mixed images."""
        loss = self._entropy(output, batch["label"])
        if "share" in batch:
            share = batch["share"].to(loss.dtype)
            loss = share * loss + (1 - share) * self._entropy(output, batch["partner"])
        return loss.mean()

    def _entropy(self, output: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(output, label, reduction="none", label_smoothing=self.smoothing)

    def distillation_loss(self, output: Tensor, teacher_output: Tensor, batch: Batch) -> Tensor:  # noqa: ARG002
        """T^2 KL(teacher || student) of the distributions at temperature T, averaged over images."""
        student = (output / self.temperature).log_softmax(dim=1)
        teacher = (teacher_output.detach() / self.temperature).log_softmax(dim=1)
        divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return self.temperature**2 * divergence

    def meter(self) -> TopMeter:
        """A new meter."""
        return TopMeter(self.num_classes)

    def baseline(self) -> tuple[str, dict[str, float]]:
        """The class frequencies of `train` as prediction for every image of `test`; reads labels only."""
        counts = np.bincount(self._data.labels("train"), minlength=self.num_classes)
        # equal counts are told apart by the order of the classes
        order = np.argsort(-counts, kind="stable")
        logits = torch.from_numpy(np.log(counts + 1.0) - 1e-6 * np.argsort(order))
        truth = torch.as_tensor(np.asarray(self._data.labels("test")), dtype=torch.int64)
        meter = self.meter()
        meter.update(logits.expand(len(truth), -1), {"label": truth})
        return f"always {self._data.class_names()[int(order[0])]}", meter.compute()

    def pictures(self, output: Tensor, batch: Batch) -> list[dict[str, Picture]]:
        """The image, and the image with a frame and caption of its label, and of the predicted class."""
        from evonas.tasks.drawing import captioned

        names = list(self._data.class_names())
        drawn = []
        predicted = output.detach().float().nan_to_num(float("-inf")).argmax(dim=1)
        for image, label, guess in zip(
            denormalise(batch["image"]), batch["label"].tolist(), predicted.tolist(), strict=True
        ):
            truth, prediction = (captioned(image, number, names[number]) for number in (label, guess))
            drawn.append({"image": image, "truth": truth, "prediction": prediction})
        return drawn
