"""Reduced precision under manual optimisation: it learns, it resumes, and fp16 is really fp16."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from evonas.train.determinism import TrainingData, seeded
from evonas.train.distill import Distiller
from evonas.train.fit import Devices, Resumable, fit
from evonas.train.gradients import clip
from evonas.train.module import SubnetModule
from evonas.train.schedule import Schedule

STEPS = 12
DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Noise(Dataset):
    """Images whose mean is the target."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(index)) + index / 12
        return {"image": image, "target": image.mean((1, 2))}


class Regression:
    """Notes the dtype of what networks answer."""

    def __init__(self) -> None:
        self.dtypes: set[torch.dtype] = set()

    def loss(self, output: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        self.dtypes.add(output.dtype)
        return F.mse_loss(output.float(), batch["target"])

    def distillation_loss(self, output: Tensor, teacher: Tensor, _: Mapping[str, Tensor]) -> Tensor:
        return F.mse_loss(output.float(), teacher.float())


class Net(nn.Module):
    """Convolution, batch norm, linear."""

    has_output = True

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, channels, 3), nn.BatchNorm2d(channels))
        self.head = nn.Linear(channels, 3)

    def forward_with_features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        level = self.body(x)
        return self.head(level.mean((2, 3))), [level]


def made(**options: Any) -> SubnetModule:
    task: Any = Regression()
    with seeded(0, "init"):
        net, teacher = Net(), Net(5)
        distiller = Distiller(4, 5, heads=1, head_dim=4, query_grid=[2, 2], position_grid=[2, 2])
    rates = Schedule(STEPS, 2, 0.02, 0.001, 0.0)
    return SubnetModule(net, task, rates, 0, teacher=teacher, distiller=distiller, grad_clip=1.0, **options)


def train(module: SubnetModule, precision: str, state: Resumable | None = None, stop: int = 0) -> list[float]:
    losses: list[float] = []

    def listen(step: int, values: Mapping[str, float]) -> None:
        if stop and step == stop:
            raise StopError
        if values:
            losses.append(values["loss"])

    fit(module, TrainingData(Noise(), 4, 0), STEPS // 3, Devices(precision=precision), state, listen)
    return losses


class StopError(Exception):
    """Stands for a crash."""


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
    pairs = zip(straight.state_dict().values(), continued.state_dict().values(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


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

    fit(module, TrainingData(Noise(), 4, 0), STEPS // 3, Devices(), None, listen)
    distiller: Any = module.distiller
    of_distiller = sum(parameter.numel() for parameter in distiller.parameters())
    own = [group for group in groups if group[0] == pytest.approx(0.25)]
    rest = [group for group in groups if group[0] == pytest.approx(1.0)]
    assert len(own) + len(rest) == len(groups)
    assert sum(size for _, _, size in own) == STEPS * of_distiller
    assert {decay for _, decay, _ in own} == {0.0}
    assert {decay for _, decay, _ in rest} == {0.1, 0.0}
