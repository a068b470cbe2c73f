"""Adaptive alpha-divergence as a distillation loss (AlphaNet: Wang et al. 2021, arXiv 2102.07954).

Legend: B batch, C classes, ... prediction positions: none (classification) or H W (dense prediction).

D_a(p || q) = (sum_c q (p/q)^a - 1) / (a (a - 1)), with the teacher's distribution p and the student's q; a = 1 is
KL(p || q), a = 0 is KL(q || p). Large a penalise classes that the student underestimates, small a those that it
overestimates. The adaptive loss takes the larger of two divergences at each position and clips the ratio (p/q)^a,
which diverges as one probability approaches zero (AlphaNet: a = -1 and 1, bound 5). KL(p || q) needs no clipping:
its gradient weight is p, which is at most one.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from evonas.errors import UserError
from evonas.nn.auxiliary import main_output
from evonas.tasks.base import Batch, Task
from evonas.tasks.depth_metrics import EPSILON, MIN_DEPTH, TINY, doubt, silog_to_answer

_NEAR = 1e-3


class AlphaDivergence:
    """The adaptive alpha-divergence between student and teacher outputs; the teacher has no gradient.

    Depth is a scalar per pixel, without a distribution. For Gaussians of equal width s in log depth, every
    alpha-divergence is a function of d^2 / s^2 with the log ratio d, so there is nothing to adapt; what remains of
    the method is the pixel weight exp(d^2 / s^2) (a = -1), clipped. The depth loss is therefore the task's
    distillation loss with these pixel weights, s^2 being the mean of d^2; a bound of 1 gives the unweighted loss.

    Args:
        alphas: candidates; the largest divergence is taken.
        bound: upper bound of ratios and pixel weights, at least 1.

    Raises:
        UserError: alphas is empty, or bound is below 1.
    """

    def __init__(self, alphas: Sequence[float] = (-1.0, 1.0), bound: float = 5.0) -> None:
        if not alphas or bound < 1:
            raise UserError(
                f"alphas must not be empty and bound must be at least 1, got {list(alphas)} and {bound}.",
                "Try alphas=[-1,1] bound=5.",
            )
        self.alphas, self.bound = tuple(map(float, alphas)), float(bound)

    def __call__(self, output: Any, target: Any, batch: Batch, task: Task) -> Tensor:
        """The scalar loss of a student output against a teacher output.

        Raises:
            UserError: the task predicts neither classes nor depth.
        """
        output, target = main_output(output), main_output(target)
        if is_classes(output, task):
            return adaptive(output, target.detach(), self.alphas, self.bound)
        if "depth" in batch and output.shape[1] == 1:
            return weighted_silog(output, target.detach(), self.bound, doubt(target, batch))
        raise UserError(
            f"The alpha-divergence is defined for classes and depth; task {task.name} predicts neither.",
            "Use sampler/inplace_distillation=kl, the task's own distillation loss.",
        )


def is_classes(output: Any, task: Task) -> bool:
    """Whether the second dimension of an output contains one logit per class of the task."""
    classes = getattr(task, "classes", None)
    count = getattr(task, "num_classes", None) if classes is None else len(classes)
    return isinstance(output, Tensor) and output.ndim > 1 and output.shape[1] == count


def adaptive(
    student: Float[Tensor, "B C ..."],
    teacher: Float[Tensor, "B C ..."],
    alphas: Sequence[float],
    bound: float,
) -> Float[Tensor, ""]:
    """The mean over positions of the largest divergence, from logits."""
    found = torch.stack([alpha_divergence(student, teacher, alpha, bound) for alpha in alphas])
    return found.max(dim=0).values.mean()


def alpha_divergence(
    student: Float[Tensor, "B C ..."], teacher: Float[Tensor, "B C ..."], alpha: float, bound: float
) -> Float[Tensor, "B ..."]:
    """D_a at each position, from logits; the ratio is clipped in value and gradient unless a is 1.

    The gradient is that of an f-divergence, -E_q[w grad log q] with w = t f'(t) - f(t) at t = p/q, which is t^a / a
    for alpha-divergences. Clipping w bounds the influence of one class without zeroing its gradient.
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
    """`silog_to_answer` with pixel weights exp(d^2 / mean d^2), clipped at `bound`."""
    valid = teacher > MIN_DEPTH
    difference = student.detach().clamp_min(TINY).log() - teacher.clamp_min(TINY).log()
    square = difference.square()
    spread = (square * valid).sum() / valid.sum().clamp_min(1)
    weight = (square / (spread + EPSILON)).exp().clamp(max=bound) * valid
    return silog_to_answer(student, teacher, weight, doubt)
