"""The divergence of class probabilities against the sum written out, and what cannot be compared."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from evonas.errors import UserError
from evonas.nn.auxiliary import AuxiliaryOutput
from evonas.tasks.depth import Depth
from evonas.tasks.segmentation import Segmentation
from evonas.train.distillation.logits import LogitDistiller

SHAPE = 2, 4, 3, 5


def drawn(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def distiller(**options: Any) -> LogitDistiller:
    return LogitDistiller(student_channels=8, teacher_channels=16, **options)


def written_out(student: Tensor, teacher: Tensor) -> Tensor:
    """p_t (log p_t - log p_s) at every image, class and pixel."""
    mine, theirs = student.double().softmax(1), teacher.double().softmax(1)
    return theirs * (theirs.log() - mine.log())


def test_the_divergence_is_fastersegs() -> None:
    student, teacher = drawn(1), drawn(2)
    terms = written_out(student, teacher)
    assert float(distiller().divergence(student, teacher)) == pytest.approx(float(terms.mean()), rel=1e-5)
    summed = distiller(reduction="pixels").divergence(student, teacher)
    assert float(summed) == pytest.approx(float(terms.sum(1).mean()), rel=1e-5)
    assert float(distiller().divergence(teacher, teacher)) == pytest.approx(0, abs=1e-7)


def test_the_temperature_softens_and_keeps_the_size_of_gradients() -> None:
    student, teacher = drawn(1), drawn(2)
    found = distiller(temperature=4.0).divergence(student, teacher)
    assert float(found) == pytest.approx(16 * float(written_out(student / 4, teacher / 4).mean()), rel=1e-5)
    # at high temperatures T^2 KL tends to half the variance of the difference over the classes, whatever T is
    limit = (student - teacher).var(1, correction=0).mean() / 2 / SHAPE[1]
    assert float(distiller(temperature=1e3).divergence(student, teacher)) == pytest.approx(
        float(limit), rel=1e-2
    )


def test_it_is_added_to_the_loss_of_the_labels_and_reaches_the_main_output_alone() -> None:
    student, side, teacher = drawn(1).requires_grad_(), drawn(3).requires_grad_(), drawn(2).requires_grad_()
    output = AuxiliaryOutput(student, (side,), 0.2)
    given: Any = SimpleNamespace()
    found = distiller(weight=3.0).loss(torch.tensor(2.0), (output, []), (teacher, []), {}, given)
    assert float(found.detach()) == pytest.approx(
        2 + 3 * float(written_out(student, teacher).detach().mean()), rel=1e-5
    )
    found.backward()
    assert (
        student.grad is not None and bool(student.grad.any()) and side.grad is None and teacher.grad is None
    )


def test_a_teacher_of_another_resolution_is_resized_and_one_of_other_classes_refused() -> None:
    student, teacher = drawn(1, (2, 4, 6, 10)), torch.zeros(2, 4, 3, 5)
    assert float(distiller().divergence(student, teacher)) == pytest.approx(
        float(distiller().divergence(student, torch.zeros_like(student)))
    )
    with pytest.raises(UserError, match="5 classes, and the task 4"):
        distiller().divergence(student, torch.zeros(2, 5, 6, 10))


def test_classes_of_images_are_compared_too() -> None:
    student, teacher = drawn(1, (6, 4)), drawn(2, (6, 4))
    found = distiller().divergence(student, teacher)
    assert float(found) == pytest.approx(float(written_out(student, teacher).mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weight": 0.0}, r"distill\.weight must be above 0, got 0"),
        ({"temperature": float("nan")}, r"distill\.temperature must be above 0, got nan"),
        ({"reduction": "batch"}, r"distill\.reduction=batch is unknown"),
    ],
)
def test_arguments_out_of_range_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        distiller(**options)


def test_a_task_without_classes_is_refused() -> None:
    depth = Depth.__new__(Depth)
    depth.name = "kitti"
    with pytest.raises(UserError, match="task kitti") as caught:
        distiller().check(depth)
    assert "caddkd" in caught.value.hint
    distiller().check(Segmentation.__new__(Segmentation))


def test_it_has_nothing_to_train() -> None:
    assert not list(distiller().parameters()) and distiller().needs_output() == "distill.weight=1.0"
