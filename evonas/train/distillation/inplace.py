"""In-place distillation: subnets of an optimizer step learn from each other's outputs on the same batch.

A pass is the forward and backward pass of one subnet. The config key is `sampler.inplace_distillation`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from evonas.errors import UserError
from evonas.nn.auxiliary import main_output
from evonas.nn.detection.base import HeadOutput
from evonas.space.genotype import Genotype
from evonas.supernets.supernet import Supernet
from evonas.tasks.base import Batch, Task
from evonas.train.distillation.alpha_divergence import AlphaDivergence, is_classes

TEACHERS = ("first", "before", "start", "full")


class InPlaceDistillation:
    """Chooses the teacher output of each pass and computes the distillation loss.

    Args:
        teacher: `first`: all later passes learn from the first one, which the sandwich rule makes the largest
            subnet (BigNAS, arXiv 2003.11142). `before`: the last pass, such as the smallest subnet, learns from
            the mean output of all earlier passes (ElasticViT, arXiv 2303.09730). `start`: every pass learns from
            the largest open subnet with its weights at the beginning of the curriculum step, except in the first
            step. `full`: every pass learns from the largest subnet of the space as the first step has left it, whose
            batch norms use the statistics of the batch, except in the first step (progressive shrinking of
            Once-for-All, arXiv 1908.09791).
        ratio: weight of the distillation loss, in (0, 1].
        divergence: distillation loss; None for the one of the task, which is a KL divergence for classes
            and SILog for depth.
        task_weight: weight of the task loss; None for 1 - ratio. Once-for-All adds both with weight 1.

    Raises:
        UserError: teacher is unknown, ratio is outside (0, 1], or task_weight is negative.
    """

    def __init__(
        self,
        teacher: str = "first",
        ratio: float = 1.0,
        divergence: AlphaDivergence | None = None,
        task_weight: float | None = None,
    ) -> None:
        if teacher not in TEACHERS or not 0 < ratio <= 1:
            raise UserError(
                f"sampler.inplace_distillation: teacher={teacher} ratio={ratio} is unknown.",
                f"Known: teacher={', '.join(TEACHERS)}; ratio in (0, 1].",
            )
        if task_weight is not None and not task_weight >= 0:
            raise UserError(
                f"sampler.inplace_distillation.task_weight must not be negative, got {task_weight}.",
                "Try sampler.inplace_distillation.task_weight=1.",
            )
        self.teacher, self.ratio, self._divergence = teacher, float(ratio), divergence
        self.task_weight = 1.0 - self.ratio if task_weight is None else float(task_weight)

    @property
    def needs_initial_network(self) -> bool:
        """Whether the teacher is a frozen subnet with the weights at the beginning of the curriculum step."""
        return self.teacher == "start"

    @property
    def needs_full_network(self) -> bool:
        """Whether the teacher is the frozen largest subnet with the weights at the end of the first curriculum step."""
        return self.teacher == "full"

    def teaches_at(self, index: int, count: int) -> bool:
        """Whether a pass learns from earlier passes, which must have seen the images that it sees."""
        if self.needs_initial_network or self.needs_full_network:
            return False
        return index > 0 and (self.teacher == "first" or index == count - 1)

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
            initial: output of the frozen teacher (see `needs_initial_network` and `needs_full_network`).
            task: defines how outputs are averaged.
        """
        if self.needs_initial_network or self.needs_full_network:
            return initial
        if not teacher_outputs or (self.teacher == "before" and index < count - 1):
            return None
        return teacher_outputs[0] if self.teacher == "first" else mean_output(teacher_outputs, task)

    def loss(self, output: HeadOutput, target: HeadOutput, batch: Batch, task: Task) -> Tensor:
        """The distillation loss of an output against a teacher output."""
        if self._divergence is None:
            return task.distillation_loss(output, target, batch)
        return self._divergence(output, target, batch, task)


class FullNetwork(nn.Module):
    """The largest subnet of a supernet as a frozen teacher whose batch norms use the statistics of the batch.

    Nothing else of it is in training mode: there is neither dropout nor stochastic depth.

    Args:
        supernet: with the teacher's weights; changed in place.
        shared: genes that the teacher has as the subnets of the batch have them, such as the size of the images.
    """

    def __init__(self, supernet: Supernet, shared: Sequence[str] = ()) -> None:
        super().__init__()
        self.supernet, self._shared = supernet, tuple(shared)

    def train(self, mode: bool = True) -> "FullNetwork":  # noqa: ARG002
        """Puts batch norms into training mode and all else into evaluation mode, whatever the mode."""
        super().train(False)
        for module in self.supernet.modules():
            if isinstance(module, BatchNorm):
                module.train()
        return self

    def genotype(self, like: Genotype) -> Genotype:
        """The largest subnet, with the shared genes of a subnet of the batch."""
        space = self.supernet.space
        values = space.decode(like) if self._shared else {}
        return space.largest({gene: [values[gene]] for gene in self._shared})

    def forward(self, images: Tensor, like: Genotype) -> HeadOutput:
        """The output for images B 3 H W.

        Args:
            images: of the batch.
            like: a subnet of the batch.
        """
        found: HeadOutput = self.supernet(images, self.genotype(like))
        return found


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
