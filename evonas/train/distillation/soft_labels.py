"""Distillation of a teacher's outputs alone, such as the class probabilities of classifiers."""

from torch import Tensor
from typing_extensions import override

from evonas.errors import UserError
from evonas.tasks.base import Batch
from evonas.train.distillation.base import ComparesOutputs, Distillation, Outputs


class SoftLabels(Distillation):
    """The loss (1 - ratio) task + ratio task(teacher); features are not compared, and nothing is trained for it.

    Args:
        ratio: share of the task loss that is computed against the teacher's output, in (0, 1].
        student_channels, teacher_channels: of the distilled levels; not used.

    Raises:
        UserError: ratio is outside (0, 1].
    """

    level, cache = -1, False

    def __init__(self, student_channels: int, teacher_channels: int, ratio: float = 1.0) -> None:  # noqa: ARG002
        super().__init__()
        if not 0 < ratio <= 1:
            raise UserError(f"distill.ratio must be in (0, 1], got {ratio}.", "Try distill.ratio=0.5.")
        self.ratio = float(ratio)

    @override
    def needs_output(self) -> str:
        return f"distill.ratio={self.ratio}"

    @override
    def loss(
        self, labels: Tensor, student: Outputs, teacher: Outputs, batch: Batch, task: ComparesOutputs
    ) -> Tensor:
        return (1.0 - self.ratio) * labels + self.ratio * task.distillation_loss(
            student[0], teacher[0], batch
        )
