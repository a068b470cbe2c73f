"""In-place distillation: what the subnets of one batch teach one another.

A pass is one subnet's forward and backward; the passes of a step see the same images.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from evonas.errors import UserError
from evonas.nn.detection.base import Answer
from evonas.nn.sided import main_of
from evonas.tasks.base import Batch, Task
from evonas.train.distillation.alpha_divergence import AlphaDivergence, is_classes

TEACHERS = ("first", "before", "start")


class InPlace:
    """Some passes learn an answer instead of, or besides, the truth.

    Args:
        teacher: `first`: all passes learn the first one's answer, which a sandwich makes the largest
            subnet's (BigNAS, arXiv 2003.11142). `before`: the last pass, such as the smallest subnet's,
            learns the mean answer of those before it (ElasticViT, arXiv 2303.09730). `start`: every pass
            learns the answer of the largest open subnet as it was when the curriculum step began, in
            the first step none does (after progressive shrinking, arXiv 1908.09791, where all steps
            learn from the network of the first).
        ratio: weight of the answer; the truth has what is left of one.
        divergence: how answers are compared; None for the task's own distillation loss, which is a KL
            divergence for classes and SILog for depth.
    """

    def __init__(
        self, teacher: str = "first", ratio: float = 1.0, divergence: AlphaDivergence | None = None
    ) -> None:
        if teacher not in TEACHERS or not 0 < ratio <= 1:
            raise UserError(
                f"sampler.lesson: teacher={teacher} ratio={ratio} is unknown.",
                f"Known: teacher={', '.join(TEACHERS)}; ratio above 0 and at most 1.",
            )
        self.teacher, self.ratio, self._divergence = teacher, float(ratio), divergence

    @property
    def keeps_start(self) -> bool:
        """Whether a subnet of the step's beginning is needed."""
        return self.teacher == "start"

    def target(
        self, index: int, count: int, heard: Sequence[Answer], start: Answer | None, task: Task
    ) -> Answer | None:
        """The answer that a pass learns, or None where it learns the truth alone.

        Args:
            index: of the pass, among `count`.
            heard: the answers of the passes before it, without slope.
            start: the answer of the subnet of the step's beginning.
        """
        if self.teacher == "start":
            return start
        if not heard or (self.teacher == "before" and index < count - 1):
            return None
        return heard[0] if self.teacher == "first" else averaged(heard, task)

    def loss(self, output: Answer, target: Answer, batch: Batch, task: Task) -> Tensor:
        """How far an answer is from the one that is learnt."""
        if self._divergence is None:
            return task.distillation_loss(output, target, batch)
        return self._divergence(output, target, batch, task)


def averaged(answers: Sequence[Answer], task: Task) -> Answer:
    """The mean answer: of distributions where they are logits of classes, else of what they say."""
    answers = [main_of(answer) for answer in answers]
    tensors = [answer for answer in answers if isinstance(answer, Tensor)]
    if not tensors and len(answers) == 1:
        return answers[0]
    if len(tensors) < len(answers):
        raise UserError(
            f"The answers of {len(answers)} detectors have no mean.",
            "Use sampler.lesson.teacher=first, or two passes a step.",
        )
    if not is_classes(tensors[0], task):
        return torch.stack(tensors).mean(dim=0)
    logs = torch.stack([answer.log_softmax(dim=1) for answer in tensors])
    return logs.logsumexp(dim=0)
