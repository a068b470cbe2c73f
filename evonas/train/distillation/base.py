"""Contract of distillation: the loss by which a network learns from a teacher besides the labels.

A distiller is built for every training, by `build(cfg.distill, student_channels=..., teacher_channels=...)` with the
channels of the feature level that `level` names. Its trainable parameters, if it has any, are trained with the network
and not saved with it.
"""

from abc import ABC, abstractmethod
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from evonas.nn.detection.base import HeadOutput
from evonas.tasks.base import Batch, Task

# output of the head, and feature maps of the backbone
Outputs = tuple[HeadOutput, list[Tensor]]


@runtime_checkable
class ComparesOutputs(Protocol):
    """The part of a task that distillation calls."""

    def distillation_loss(self, output: Any, teacher_output: Any, batch: Batch) -> Tensor: ...


class Distillation(nn.Module, ABC):
    """Base of distillers.

    Attributes:
        level: index of the feature level that is compared and cached; see `distilled_level`.
        cache: whether teacher outputs are cached on disk, one record per training image.
    """

    level: int
    cache: bool

    @abstractmethod
    def needs_output(self) -> str | None:
        """The setting that makes the teacher's output necessary, or None if its features are enough."""

    def check(self, task: Task) -> None:
        """Refuse a task whose outputs cannot be compared; called before the first step.

        Raises:
            UserError: the task does not fit.
        """

    @abstractmethod
    def loss(
        self, labels: Tensor, student: Outputs, teacher: Outputs, batch: Batch, task: ComparesOutputs
    ) -> Tensor:
        """The loss of a batch.

        Args:
            labels: the task's loss against the labels.
            student: output and features of the trained network.
            teacher: those of the teacher.
            batch: images and labels.
            task: the task.
        """
