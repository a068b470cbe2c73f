"""Two real processes that train together: the same weights as one, one exchange a step, and nobody hangs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from small_training import Noise, Regression, StopError
from torch import Tensor, nn

from evonas.errors import EngineError, UserError
from evonas.train.fit import Devices, Resumable, fit
from evonas.train.loop.data import TrainingData
from evonas.train.loop.sync_batchnorm import SyncedBatchNorm2d, synchronise
from evonas.train.module import Pass, SubnetModule
from evonas.train.optim import gradients
from evonas.train.optim.lr_schedule import Schedule

STEPS, BATCH, K = 20, 8, 3
pytestmark = [
    pytest.mark.skipif(not dist.is_gloo_available(), reason="torch has no gloo here"),
    pytest.mark.usefixtures("one_thread"),
]


class Shared(nn.Module):
    """A body with batch norm and K heads, of which a step uses some: the others get no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(6, 3) for _ in range(K + 1))

    def through(self, head: int) -> Pass:
        def one(image: Tensor) -> tuple[Tensor, list[Tensor]]:
            level = self.body(image)
            return self.heads[head](level.mean((2, 3))), [level]

        return one


class Several(SubnetModule):
    """K passes a step through different heads; the last head only at every third step."""

    def passes(self, step: int) -> list[Pass]:
        net: Any = self.net
        return [net.through((step + index) % K + (step % 3 == 0)) for index in range(K)]


def made(**options: Any) -> Several:
    torch.manual_seed(0)
    task: Any = Regression()
    return Several(Shared(), task, Schedule(STEPS, 3, 1e-2, 1e-4, 1e-4), 0, grad_clip=0.5, **options)


def trained(devices: int, state: Resumable | None = None, **hardware: Any) -> tuple[dict[str, Tensor], list]:
    module, heard = made(), []
    fit(
        module,
        TrainingData(Noise(2 * BATCH, moves=False), BATCH, 0),
        STEPS // 2,
        Devices(devices=devices, sync_batchnorm=True, **hardware),
        state,
        lambda step, values: heard.append((step, dict(values))),
    )
    return module.net.state_dict(), heard


@pytest.fixture(scope="module")
def alone() -> tuple[dict[str, Tensor], list]:
    torch.set_num_threads(1)
    return trained(1)


def largest(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def test_two_ranks_equal_one_with_the_double_batch(alone: Any, capfd: pytest.CaptureFixture[str]) -> None:
    together, heard = trained(2)
    assert largest(together, alone[0]) <= 1e-6
    assert largest(made().net.state_dict(), alone[0]) > 0.01
    assert [step for step, _ in heard] == [step for step, _ in alone[1]] == list(range(1, STEPS + 1))
    for (_, mine), (_, theirs) in zip(heard, alone[1], strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_two_ranks_average_their_weights_as_one_does() -> None:
    found = []
    for devices in (1, 2):
        module = made(ema_decay=0.9)
        data = TrainingData(Noise(2 * BATCH, moves=False), BATCH, 0)
        fit(module, data, STEPS // 2, Devices(devices=devices, sync_batchnorm=True))
        assert module.average is not None
        assert largest(module.net.state_dict(), module.average.module.state_dict()) == 0
        found.append(module.net.state_dict())
    assert largest(*found) <= 1e-6


def test_gradients_are_exchanged_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = torch.zeros(2, dtype=torch.int64).share_memory_()
    real, exchange = dist.all_reduce, gradients.average

    def counting(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        # Lightning compares the lengths of loaders once an epoch
        counts[0] += dist.get_rank() == 0 and tensor.numel() > 1
        return real(tensor, *args, **kwargs)

    def averaging(parameters: Any) -> None:
        before = int(counts[0])
        exchange(parameters)
        if dist.get_rank() == 0:
            counts[1] += int(counts[0]) - before

    monkeypatch.setattr(dist, "all_reduce", counting)
    monkeypatch.setattr(gradients, "average", averaging)
    fit(made(), TrainingData(Noise(2 * BATCH, moves=False), BATCH, 0), STEPS // 2, Devices(devices=2))
    assert counts.tolist() == [STEPS, STEPS]


def test_two_ranks_stop_and_go_on_bit_for_bit(tmp_path: Path) -> None:
    straight, _ = trained(2)
    state = Resumable(tmp_path / "state.safetensors", {"lr": 1}, resume=True, every=3)

    class Failing(Several):
        def passes(self, step: int) -> list[Pass]:
            if step == 8 and self.global_rank == 1:
                raise StopError("at step 8")
            return super().passes(step)

    torch.manual_seed(0)
    task: Any = Regression()
    failing = Failing(Shared(), task, Schedule(STEPS, 3, 1e-2, 1e-4, 1e-4), 0, grad_clip=0.5)
    with pytest.raises(EngineError, match="at step 8"):
        data = TrainingData(Noise(2 * BATCH, moves=False), BATCH, 0)
        fit(failing, data, STEPS // 2, Devices(devices=2, sync_batchnorm=True), state)
    assert state.path.exists()
    continued, heard = trained(2, state)
    assert heard[0][0] == 8
    assert all(torch.equal(continued[name], straight[name]) for name in straight)


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(UserError, match="not divisible by 2 devices"):
        fit(made(), TrainingData(Noise(2 * BATCH, moves=False), 5, 0), 1, Devices(devices=2))


def test_unknown_hardware_is_the_users_error() -> None:
    with pytest.raises(UserError, match="strategy=fsdp"):
        Devices(strategy="fsdp")
    with pytest.raises(UserError, match="precision=8-bit"):
        Devices(precision="8-bit")
    with pytest.raises(UserError, match="devices must be at least 1, got 0"):
        Devices(devices=0)


def test_one_process_sees_ordinary_batch_norm() -> None:
    torch.manual_seed(1)
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    image = torch.randn(2, 3, 4, 4)
    torch.manual_seed(1)
    synced = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    synchronise(synced)
    assert isinstance(synced[1], SyncedBatchNorm2d)
    assert torch.equal(plain(image), synced(image))
    assert plain.state_dict().keys() == synced.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(plain.buffers(), synced.buffers(), strict=True))
