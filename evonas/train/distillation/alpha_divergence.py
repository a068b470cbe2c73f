"""How far one subnet's answer is from another's, by alpha-divergences, with a slope for the first.

Legend: B batch, C classes, ... what is answered: nothing (one image) or H W (its pixels).

For distributions over classes: D_a(p || q) = (sum_c q (p/q)^a - 1) / (a (a - 1)), p the teacher's, q the
student's; a = 1 is KL(p || q), a = 0 is KL(q || p). Large a punish what the student overlooks, small a what
it invents. The adaptive loss takes the larger of two, for each answer by itself, and bounds the ratio
(p/q)^a, which explodes where one side is nearly zero (AlphaNet: Wang et al. 2021, arXiv 2102.07954;
a = -1 and 1, bound 5). KL(p || q) needs no bound: its slope is p, which is at most one.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from evonas.errors import UserError
from evonas.nn.sided import main_of
from evonas.tasks.base import Batch, Task
from evonas.tasks.depth_metrics import EPSILON, MIN_DEPTH, TINY, doubt, silog_to_answer

_NEAR = 1e-3


class AlphaDivergence:
    """The adaptive alpha-divergence between two answers of one task; no slope for the second.

    Depth is one number a pixel and has no distribution to compare. As Gaussians of equal width s in log
    depth two answers have alpha-divergences that grow, for every alpha, with the same d^2 / s^2, d being the
    log ratio: there is nothing to adapt between, and what is left is that a pixel counts by
    exp(d^2 / s^2) (a = -1), again bounded. So depth learns by the task's own distillation loss with each
    pixel so weighted, s^2 being the mean of d^2; with a bound of 1 it is the task's own.

    Args:
        alphas: between which the larger loss is taken.
        bound: of ratios and weights.
    """

    def __init__(self, alphas: Sequence[float] = (-1.0, 1.0), bound: float = 5.0) -> None:
        if not alphas or bound < 1:
            raise UserError(
                f"alphas={list(alphas)} bound={bound} make no divergence.", "Try alphas=[-1,1] bound=5."
            )
        self.alphas, self.bound = tuple(map(float, alphas)), float(bound)

    def __call__(self, output: Any, target: Any, batch: Batch, task: Task) -> Tensor:
        """One number.

        Raises:
            UserError: the task answers with neither classes nor depth.
        """
        output, target = main_of(output), main_of(target)
        if is_classes(output, task):
            return adaptive(output, target.detach(), self.alphas, self.bound)
        if "depth" in batch and output.shape[1] == 1:
            return weighted_silog(output, target.detach(), self.bound, doubt(target, batch))
        raise UserError(
            f"Task {task.name} answers with neither classes nor depth, so alpha-divergence has no form.",
            "Use sampler/lesson=kl, which asks the task itself.",
        )


def is_classes(output: Any, task: Task) -> bool:
    """Whether an output holds one logit per class of the task in its second dimension."""
    classes = getattr(task, "classes", None)
    count = getattr(task, "num_classes", None) if classes is None else len(classes)
    return isinstance(output, Tensor) and output.ndim > 1 and output.shape[1] == count


def adaptive(
    student: Float[Tensor, "B C ..."],
    teacher: Float[Tensor, "B C ..."],
    alphas: Sequence[float],
    bound: float,
) -> Float[Tensor, ""]:
    """The mean over answers of the largest of the divergences, from logits."""
    found = torch.stack([alpha_divergence(student, teacher, alpha, bound) for alpha in alphas])
    return found.max(dim=0).values.mean()


def alpha_divergence(
    student: Float[Tensor, "B C ..."], teacher: Float[Tensor, "B C ..."], alpha: float, bound: float
) -> Float[Tensor, "B ..."]:
    """D_a of each answer, from logits, with the ratio bounded in value and slope unless a is 1.

    The slope is that of an f-divergence, -E_q[w grad log q] with w = t f'(t) - f(t) at t = p/q, which for
    alpha-divergences is t^a / a: bounding w bounds what one class can do, without cutting its slope off.
    """
    log_q, log_p = student.log_softmax(dim=1), teacher.log_softmax(dim=1)
    q, log_ratio = log_q.exp().detach(), (log_p - log_q).detach()
    if abs(alpha - 1) < _NEAR:
        weight = log_p.exp().detach()
        value = weight * log_ratio
    elif abs(alpha) < _NEAR:
        value, weight = -q * log_ratio, q * (log_ratio - 1)
    else:
        power = (alpha * log_ratio).exp().clamp(max=bound)
        value, weight = q * (power - 1) / (alpha * (alpha - 1)), q * power / alpha
    slope = -(weight * log_q).sum(dim=1)
    return value.sum(dim=1) + slope - slope.detach()


def weighted_silog(
    student: Float[Tensor, "B 1 H W"],
    teacher: Float[Tensor, "B 1 H W"],
    bound: float,
    doubt: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """`silog_to_answer`, each pixel weighted by exp(d^2 / mean d^2), bounded."""
    valid = teacher > MIN_DEPTH
    difference = student.detach().clamp_min(TINY).log() - teacher.clamp_min(TINY).log()
    square = difference.square()
    spread = (square * valid).sum() / valid.sum().clamp_min(1)
    weight = (square / (spread + EPSILON)).exp().clamp(max=bound) * valid
    return silog_to_answer(student, teacher, weight, doubt)
