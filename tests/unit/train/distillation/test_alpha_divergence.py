"""Alpha-divergences against numbers worked out by hand, their slopes, and the form for depth."""

import math
from typing import Any

import pytest
import small_supernet
import torch
from torch import Tensor

from evonas.errors import UserError
from evonas.tasks.depth_metrics import silog
from evonas.train.distillation.alpha_divergence import (
    AlphaDivergence,
    adaptive,
    alpha_divergence,
    is_classes,
    weighted_silog,
)
from evonas.train.distillation.inplace import InPlaceDistillation, mean_output

# two answers over two classes: teacher p = (3/4, 1/4), student q = (1/2, 1/2)
TEACHER = torch.tensor([[0.75, 0.25]]).log()
STUDENT = torch.tensor([[0.5, 0.5]]).log()
WIDE = 1e6
SURE = torch.tensor(0.0)


class Classes:
    """The part of a task of two classes that a divergence looks at."""

    name, num_classes = "coins", 2

    def distillation_loss(self, output: Tensor, target: Tensor, _: Any) -> Tensor:
        """KL, the usual way."""
        return torch.nn.functional.kl_div(
            output.log_softmax(1), target.log_softmax(1), reduction="batchmean", log_target=True
        )


COINS: Any = Classes()


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        # (1/2 . 2/3 + 1/2 . 2 - 1) / 2
        (-1.0, 1 / 6),
        (1.0, 0.75 * math.log(1.5) + 0.25 * math.log(0.5)),
        (0.0, 0.5 * math.log(2 / 3) + 0.5 * math.log(2.0)),
        # (9/16 . 2 + 1/16 . 2 - 1) / 2
        (2.0, 0.125),
    ],
)
def test_values_worked_out_by_hand(alpha: float, expected: float) -> None:
    assert float(alpha_divergence(STUDENT, TEACHER, alpha, WIDE)) == pytest.approx(expected, rel=1e-5)


def test_the_larger_of_two_is_taken_for_each_answer() -> None:
    student = torch.cat([STUDENT, TEACHER])
    teacher = torch.cat([TEACHER, STUDENT])
    first, second = (alpha_divergence(student, teacher, alpha, WIDE) for alpha in (-1.0, 1.0))
    # 1/6 against 0.131, and (3/4 . 3/2 + 1/4 . 1/2 - 1) / 2 = 1/8 against 0.144
    assert first.tolist() == pytest.approx([1 / 6, 1 / 8], rel=1e-5)
    expected = (1 / 6 + float(second[1])) / 2
    assert float(adaptive(student, teacher, (-1.0, 1.0), WIDE)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_the_slope_is_that_of_the_value(alpha: float) -> None:
    torch.manual_seed(0)
    student = torch.randn(3, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 4, 2, 2, dtype=torch.float64)
    alpha_divergence(student, teacher, alpha, WIDE).sum().backward()
    other = student.detach().clone().requires_grad_(True)
    q, p = other.softmax(1), teacher.softmax(1)
    if alpha in (0.0, 1.0):
        left, right = (p, q) if alpha else (q, p)
        value = (left * (left / right).log()).sum()
    else:
        value = (q * ((p / q) ** alpha - 1)).sum() / (alpha * (alpha - 1))
    value.backward()
    assert torch.allclose(student.grad, other.grad, atol=1e-9)


def test_a_ratio_is_bounded_in_value_and_slope() -> None:
    student = torch.tensor([[12.0, -12.0]], requires_grad=True)
    teacher = torch.tensor([[-12.0, 12.0]])
    free, bound = (alpha_divergence(student, teacher, -1.0, limit) for limit in (1e12, 5.0))
    assert float(free.detach()) > 1e9 and float(bound.detach()) < 2.1
    (slope,) = torch.autograd.grad(bound.sum(), student)
    assert 0 < float(slope.abs().max()) <= 10


def test_a_class_that_the_student_overlooks_is_learnt_by_all_of_kl() -> None:
    """The bound is for ratios to a power; KL's slope is p - q whatever the ratio."""
    p = torch.tensor([[0.9] + [0.01] * 10], dtype=torch.float64)
    q = torch.tensor([[0.01] + [0.099] * 10], dtype=torch.float64)
    student = q.log().requires_grad_()
    assert float(alpha_divergence(student, p.log(), 1.0, 5.0).detach()) == pytest.approx(
        0.9 * math.log(90) + 0.1 * math.log(0.01 / 0.099), rel=1e-9
    )
    (slope,) = torch.autograd.grad(adaptive(student, p.log(), (-1.0, 1.0), 5.0), student)
    assert torch.allclose(slope, q - p, atol=1e-12)


def test_depth_is_the_tasks_own_loss_where_nothing_may_stand_out() -> None:
    torch.manual_seed(0)
    student, teacher = 1 + 9 * torch.rand(2, 1, 5, 6), 1 + 9 * torch.rand(2, 1, 5, 6)
    plain = silog(student, teacher, torch.ones_like(teacher, dtype=torch.bool))
    assert float(weighted_silog(student, teacher, 1.0, SURE)) == pytest.approx(float(plain), rel=1e-5)
    # what is far away counts for more
    assert float(weighted_silog(student, teacher, 5.0, SURE)) > float(plain)
    assert float(weighted_silog(teacher, teacher, 5.0, SURE)) < 1e-3
    # and a bound of infinity is e^(d^2 / mean d^2), here with d^2 = (1, 0) log(2)^2
    pair = torch.tensor([[[[2.0, 1.0]]]])
    weights = torch.tensor([math.e**2, 1.0])
    share = float(weights[0] / weights.sum())
    expected = 10 * math.log(2) * math.sqrt(share - 0.85 * share**2)
    found = float(weighted_silog(pair, torch.ones_like(pair), WIDE, SURE))
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_form_follows_the_task() -> None:
    divergence = AlphaDivergence()
    assert is_classes(STUDENT, COINS) and not is_classes(torch.zeros(1, 3), COINS)
    assert float(divergence(STUDENT, TEACHER, {}, COINS)) == pytest.approx(1 / 6, rel=1e-5)
    depth = small_supernet.task()
    far, near = torch.full((1, 1, 2, 2), 4.0), torch.full((1, 1, 2, 2), 2.0)
    batch = {"depth": near, "valid": torch.ones_like(near, dtype=torch.bool)}
    assert float(divergence(far, near, batch, depth)) > 1
    with pytest.raises(UserError, match="predicts neither"):
        divergence(far, near, {}, depth)
    for wrong in ({"alphas": []}, {"bound": 0.5}):
        with pytest.raises(UserError):
            AlphaDivergence(**wrong)


def test_nothing_slopes_towards_the_teacher() -> None:
    teacher = TEACHER.clone().requires_grad_(True)
    student = STUDENT.clone().requires_grad_(True)
    AlphaDivergence()(student, teacher, {}, COINS).backward()
    assert teacher.grad is None and float(student.grad.abs().sum()) > 0


def test_who_learns_from_whom() -> None:
    heard, start = [STUDENT, TEACHER], torch.zeros(1, 2)
    first, before, kept = (InPlaceDistillation(teacher) for teacher in ("first", "before", "start"))
    assert first.target(0, 3, [], None, COINS) is None
    assert first.target(2, 3, heard, None, COINS) is STUDENT
    assert before.target(1, 3, heard[:1], None, COINS) is None
    mean = before.target(2, 3, heard, None, COINS)
    assert mean is not None and mean.softmax(1).tolist()[0] == pytest.approx([0.625, 0.375])
    assert kept.target(0, 3, [], start, COINS) is start and kept.target(1, 3, heard, None, COINS) is None
    assert (first.needs_initial_network, kept.needs_initial_network) == (False, True)
    for wrong in ({"teacher": "last"}, {"ratio": 0.0}, {"ratio": 1.5}):
        with pytest.raises(UserError):
            InPlaceDistillation(**wrong)


def test_without_a_divergence_the_task_is_asked() -> None:
    loss = InPlaceDistillation().loss(STUDENT, TEACHER, {}, COINS)
    assert float(loss) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-5)


def test_metres_are_averaged_as_they_are() -> None:
    maps = [torch.full((1, 1, 2, 2), value) for value in (1.0, 3.0)]
    assert mean_output(maps, small_supernet.task()).unique().tolist() == [2.0]
