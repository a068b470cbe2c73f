"""Distillation of a teacher's class probabilities (Hinton et al., arXiv 1503.02531), as FasterSeg does it.

Legend: B batch, C classes, H W space.
"""

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from evonas.errors import UserError
from evonas.nn.auxiliary import main_output
from evonas.tasks.base import Batch, Task
from evonas.tasks.classification import Classification
from evonas.tasks.iou import to_size
from evonas.tasks.segmentation import Segmentation
from evonas.train.distillation.base import ComparesOutputs, Distillation, Outputs

Reduction = Literal["elements", "pixels"]


class LogitDistiller(Distillation):
    """Adds weight * T^2 * KL(teacher || student) of the classes' probabilities at temperature T to the labels' loss.

    Outputs of auxiliary heads learn from the labels alone. Unlabelled pixels count: a teacher has an answer there.

    Args:
        student_channels, teacher_channels: not read, since outputs are compared and not features.
        weight: weight of the divergence; 1 in FasterSeg (arXiv 1912.10917).
        temperature: divides all logits; 1 in FasterSeg.
        reduction: `elements` is the mean over images, pixels and classes, as FasterSeg has it; `pixels` sums over the
            classes, and so is as many times larger as there are classes.
        cache: see `Distillation`.

    Raises:
        UserError: an argument is out of range.
    """

    level = -1

    def __init__(
        self,
        student_channels: int,  # noqa: ARG002
        teacher_channels: int,  # noqa: ARG002
        weight: float = 1.0,
        temperature: float = 1.0,
        reduction: str = "elements",
        cache: bool = False,
    ) -> None:
        super().__init__()
        for key, value in (("weight", weight), ("temperature", temperature)):
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"distill.{key} must be above 0, got {value}.", f"Try distill.{key}=1.0.")
        if reduction not in get_args(Reduction):
            known = ", ".join(get_args(Reduction))
            raise UserError(f"distill.reduction={reduction} is unknown.", f"Known: {known}")
        self.weight, self.temperature, self.reduction, self.cache = weight, temperature, reduction, cache

    @override
    def needs_output(self) -> str:
        return f"distill.weight={self.weight}"

    @override
    def check(self, task: Task) -> None:
        if not isinstance(task, Segmentation | Classification):
            raise UserError(
                f"distill=logits compares probabilities of classes, which outputs of task {task.name} are not.",
                "Use distill=caddkd, or distill=none.",
            )

    @override
    def loss(
        self, labels: Tensor, student: Outputs, teacher: Outputs, batch: Batch, task: ComparesOutputs
    ) -> Tensor:
        return labels + self.weight * self.divergence(main_output(student[0]), main_output(teacher[0]))

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """T^2 KL(teacher || student) of logits B C (H W); a teacher's logits of another size are resized.

        Raises:
            UserError: the teacher has other classes.
        """
        if student.shape[1] != teacher.shape[1]:
            raise UserError(
                f"The teacher has {teacher.shape[1]} classes, and the task {student.shape[1]}.",
                "Use a teacher that was trained on the task's classes, or distill=none.",
            )
        with torch.autocast(student.device.type, enabled=False):
            mine, theirs = student.float(), teacher.detach().float()
            if mine.ndim == 4:
                theirs = to_size(theirs, mine.shape[-2:])
            mine, theirs = ((each / self.temperature).log_softmax(dim=1) for each in (mine, theirs))
            divergence = F.kl_div(mine, theirs, reduction="none", log_target=True)
            mean = divergence.mean() if self.reduction == "elements" else divergence.sum(dim=1).mean()
            return self.temperature**2 * mean
