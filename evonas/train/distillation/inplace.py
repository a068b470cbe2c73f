"""In-place distillation: subnets of an optimizer step learn from each other's outputs on the same batch.

A pass is the forward and backward pass of one subnet. The config key is `sampler.inplace_distillation`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from evonas.errors import UserError
from evonas.nn.auxiliary import main_output
from evonas.nn.detection.base import HeadOutput
from evonas.tasks.base import Batch, Task
from evonas.train.distillation.alpha_divergence import AlphaDivergence, is_classes

TEACHERS = ("first", "before", "start")


class InPlaceDistillation:
    """Chooses the teacher output of each pass and computes the distillation loss.

    Args:
        teacher: `first`: all later passes learn from the first one, which the sandwich rule makes the largest
            subnet (BigNAS, arXiv 2003.11142). `before`: the last pass, such as the smallest subnet, learns from
            the mean output of all earlier passes (ElasticViT, arXiv 2303.09730). `start`: every pass learns from
            the largest open subnet with its weights at the beginning of the curriculum step, except in the first
            step (after progressive shrinking, arXiv 1908.09791, where all steps learn from the full network of
            the first step).
        ratio: weight of the distillation loss, in (0, 1]; the task loss has weight 1 - ratio.
        divergence: distillation loss; None for the one of the task, which is a KL divergence for classes
            and SILog for depth.

    Raises:
        UserError: teacher is unknown, or ratio is outside (0, 1].
    """

    def __init__(
        self, teacher: str = "first", ratio: float = 1.0, divergence: AlphaDivergence | None = None
    ) -> None:
        if teacher not in TEACHERS or not 0 < ratio <= 1:
            raise UserError(
                f"sampler.inplace_distillation: teacher={teacher} ratio={ratio} is unknown.",
                f"Known: teacher={', '.join(TEACHERS)}; ratio in (0, 1].",
            )
        self.teacher, self.ratio, self._divergence = teacher, float(ratio), divergence

    @property
    def needs_initial_network(self) -> bool:
        """Whether the teacher is a frozen subnet with the weights at the beginning of the curriculum step."""
        return self.teacher == "start"

    def target(
        self,
        index: int,
        count: int,
        teacher_outputs: Sequence[HeadOutput],
        initial: HeadOutput | None,
        task: Task,
    ) -> HeadOutput | None:
        """The teacher output of a pass, or None if the pass has the task loss alone.

        Args:
            index: index of the pass.
            count: number of passes of the step.
            teacher_outputs: detached outputs of the earlier passes.
            initial: output of the initial network (see `needs_initial_network`).
            task: defines how outputs are averaged.
        """
        if self.teacher == "start":
            return initial
        if not teacher_outputs or (self.teacher == "before" and index < count - 1):
            return None
        return teacher_outputs[0] if self.teacher == "first" else mean_output(teacher_outputs, task)

    def loss(self, output: HeadOutput, target: HeadOutput, batch: Batch, task: Task) -> Tensor:
        """The distillation loss of an output against a teacher output."""
        if self._divergence is None:
            return task.distillation_loss(output, target, batch)
        return self._divergence(output, target, batch, task)


def mean_output(outputs: Sequence[HeadOutput], task: Task) -> HeadOutput:
    """The mean of outputs: of probabilities, returned as unnormalised logits, for class logits; else of values.

    Raises:
        UserError: several outputs are those of detectors.
    """
    outputs = [main_output(output) for output in outputs]
    tensors = [output for output in outputs if isinstance(output, Tensor)]
    if not tensors and len(outputs) == 1:
        return outputs[0]
    if len(tensors) < len(outputs):
        raise UserError(
            f"Outputs of {len(outputs)} detectors cannot be averaged.",
            "Use sampler.inplace_distillation.teacher=first, or two passes a step.",
        )
    if not is_classes(tensors[0], task):
        return torch.stack(tensors).mean(dim=0)
    logs = torch.stack([output.log_softmax(dim=1) for output in tensors])
    return logs.logsumexp(dim=0)
