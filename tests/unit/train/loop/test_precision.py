"""Reduced precision under manual optimisation: it learns, it resumes, and fp16 is really fp16."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import Noise, StopError, equal, stopping_at, taught
from torch import nn

from evonas.train.fit import Devices, Resumable, fit
from evonas.train.loop.data import TrainingData
from evonas.train.module import SubnetModule
from evonas.train.optim.gradients import clip
from evonas.train.optim.lr_schedule import Schedule

STEPS = 12
DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
pytestmark = pytest.mark.usefixtures("one_thread")


def made(**options: Any) -> SubnetModule:
    return taught(Schedule(STEPS, 2, 0.02, 0.001, 0.0), dropout=0.0, grad_clip=1.0, **options)


def data() -> TrainingData:
    return TrainingData(Noise(12, moves=False), 4, 0)


def train(module: SubnetModule, precision: str, state: Resumable | None = None, stop: int = 0) -> list[float]:
    losses: list[float] = []
    crash = stopping_at(stop)

    def listen(step: int, values: Mapping[str, float]) -> None:
        crash(step, values)
        if values:
            losses.append(values["loss"])

    fit(module, data(), STEPS // 3, Devices(precision=precision), state, listen)
    return losses


@pytest.mark.parametrize("precision", DTYPES)
def test_each_precision_learns_in_its_own_dtype(precision: str) -> None:
    module = made()
    losses = train(module, precision)
    task: Any = module.task
    assert task.dtypes == {DTYPES[precision]}
    assert sum(losses[-3:]) < sum(losses[:3])
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_a_stopped_training_continues_bit_for_bit(tmp_path: Path, precision: str) -> None:
    straight, continued = made(), made()
    train(straight, precision)
    state = Resumable(tmp_path / "state.safetensors", {}, True, every=2)
    with pytest.raises(StopError):
        train(made(), precision, state, stop=6)
    train(continued, precision, state)
    assert equal(continued, straight)


def test_scaled_gradients_are_clipped_like_true_ones() -> None:
    gradient = torch.tensor([3.0, 4.0])
    plain, scaled = (nn.Parameter(torch.zeros(2)) for _ in range(2))
    plain.grad, scaled.grad = gradient.clone(), 1024 * gradient
    clip([plain], 1.0)
    clip([scaled], 1.0, scale=1024.0)
    assert plain.grad.norm() == pytest.approx(1.0, rel=1e-5)
    assert torch.allclose(scaled.grad / 1024, plain.grad)
    untouched = nn.Parameter(torch.zeros(2))
    untouched.grad = gradient.clone()
    clip([untouched], 0.0)
    assert torch.equal(untouched.grad, gradient)


def test_projectors_follow_the_schedule_at_their_own_height() -> None:
    module = made(projector_lr=0.005, projector_weight_decay=0.0, weight_decay=0.1)
    groups: list[tuple[float, float, int]] = []

    def listen(_: int, values: Mapping[str, float]) -> None:
        optimizer: Any = module.optimizers()
        for group in optimizer.param_groups:
            size = sum(parameter.numel() for parameter in group["params"])
            groups.append((group["lr"] / values["lr"], group["weight_decay"], size))

    fit(module, data(), STEPS // 3, Devices(), None, listen)
    distiller: Any = module.distiller
    of_distiller = sum(parameter.numel() for parameter in distiller.parameters())
    own = [group for group in groups if group[0] == pytest.approx(0.25)]
    rest = [group for group in groups if group[0] == pytest.approx(1.0)]
    assert len(own) + len(rest) == len(groups)
    assert sum(size for _, _, size in own) == STEPS * of_distiller
    assert {decay for _, decay, _ in own} == {0.0}
    assert {decay for _, decay, _ in rest} == {0.1, 0.0}
