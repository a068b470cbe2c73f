"""Distillation of a teacher's outputs alone, such as the class probabilities of classifiers."""

import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.train.distillation.cross_architecture import Terms


class SoftLabels(nn.Module):
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

    def forward(self, student: Tensor, teacher: Tensor) -> Terms:  # noqa: ARG002
        """Zero for both terms of features."""
        zero = torch.zeros((), device=student.device)
        return Terms(zero, zero)
