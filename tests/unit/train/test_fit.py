"""Training runs: the same numbers whether straight or stopped and continued."""

import hashlib
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_training import Noise, StopError, stopping_at, taught
from torch import nn

from evonas.errors import EngineError, UserError
from evonas.train.fit import Devices, Resumable, fit
from evonas.train.loop.checkpoint_io import SafeCheckpointIO
from evonas.train.loop.data import EpochBatches, TrainingData
from evonas.train.module import SubnetModule
from evonas.train.optim.lr_schedule import Schedule

EPOCHS, ITEMS, BATCH = 4, 22, 4
STEPS = EPOCHS * (ITEMS // BATCH)
pytestmark = pytest.mark.usefixtures("one_thread")


def made(seed: int = 0, **options: Any) -> SubnetModule:
    return taught(Schedule(STEPS, 3, 0.05, 0.001, 0.0), seed, **options)


def digest(module: nn.Module) -> str:
    parts = [tensor.detach().numpy().tobytes() for tensor in module.state_dict().values()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def data(seed: int = 0, workers: int = 0) -> TrainingData:
    return TrainingData(Noise(ITEMS), BATCH, seed, workers)


@pytest.fixture(scope="module")
def straight() -> str:
    module = made()
    fit(module, data(), EPOCHS, Devices())
    return digest(module)


@pytest.mark.parametrize("stop", [1, 5, 8, 10, 19])
def test_a_stopped_training_continues_bit_for_bit(tmp_path: Path, straight: str, stop: int) -> None:
    state = Resumable(tmp_path / "state.safetensors", {"lr": 1}, resume=True)
    with pytest.raises(StopError):
        fit(made(), data(), EPOCHS, Devices(), state, stopping_at(stop))
    torch.manual_seed(stop)
    continued = made()
    fit(continued, data(), EPOCHS, Devices(), state)
    assert digest(continued) == straight
    assert not state.path.exists()


def test_loader_workers_change_nothing(straight: str) -> None:
    module = made()
    fit(module, data(workers=2), EPOCHS, Devices())
    assert digest(module) == straight


def test_another_seed_changes_the_weights(straight: str) -> None:
    module = made()
    fit(module, data(seed=1), EPOCHS, Devices())
    assert digest(module) != straight


def test_the_callers_generator_does_not_matter(straight: str) -> None:
    torch.manual_seed(1234)
    module = made()
    torch.manual_seed(4321)
    fit(module, data(), EPOCHS, Devices())
    assert digest(module) == straight


def test_every_step_is_heard_and_the_teacher_is_left_alone() -> None:
    losses: dict[int, float] = {}
    module = made()
    teacher = module._teacher[0]
    before = digest(teacher)
    fit(module, data(), EPOCHS, Devices(), listen=lambda at, values: losses.update({at: values["loss"]}))
    assert list(losses) == list(range(1, STEPS + 1))
    assert digest(teacher) == before
    assert not any("teacher" in name for name in module.state_dict())


def test_training_learns() -> None:
    losses: list[float] = []
    module = made(teacher=None)
    fit(module, data(), EPOCHS, Devices(), listen=lambda _, values: losses.append(values["loss"]))
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_a_network_in_eval_mode_is_trained_in_training_mode(straight: str) -> None:
    module = made()
    module.eval()
    fit(module, data(), EPOCHS, Devices())
    assert digest(module) == straight


def test_the_average_of_the_weights_is_the_result(tmp_path: Path) -> None:
    """Worked out beside it from the weights after every step; a stop, also at the end, changes no bit."""
    module = made(ema_decay=0.8)
    weights, start = list[torch.Tensor](), module.net.head.weight.detach().clone()
    fit(
        module,
        data(),
        EPOCHS,
        Devices(),
        listen=lambda *_: weights.append(module.net.head.weight.detach().clone()),
    )
    expected = start
    for step, weight in enumerate(weights):
        decay = min(0.8, 1 - (1 + step) ** (-2 / 3))
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(module.net.head.weight.detach(), expected)
    assert not torch.equal(module.net.head.weight, weights[-1])
    state = Resumable(tmp_path / "state.safetensors", {}, resume=True, keep=True)
    with pytest.raises(StopError):
        fit(made(ema_decay=0.8), data(), EPOCHS, Devices(), state, stopping_at(8))
    for _ in range(2):
        continued = made(ema_decay=0.8)
        fit(continued, data(), EPOCHS, Devices(), state)
        assert digest(continued.net) == digest(module.net)


def test_a_network_has_its_average_for_a_while() -> None:
    module = made(ema_decay=0.5, ema_warmup=False)
    before = digest(module.net)
    with torch.no_grad():
        module.net.head.bias += 1.0
    moved = digest(module.net)
    with module.averaged():
        assert digest(module.net) == before
    assert digest(module.net) == moved


def test_the_rate_and_momentum_of_sgd_are_continued_bit_for_bit(tmp_path: Path) -> None:
    options = {
        "optimizer": "sgd",
        "optimizer_options": {"momentum": 0.8},
        "grad_clip": 0.1,
        "grad_clip_mode": "value",
    }
    straight = made(**options)
    fit(straight, data(), EPOCHS, Devices())
    state = Resumable(tmp_path / "state.safetensors", {}, resume=True)
    with pytest.raises(StopError):
        fit(made(**options), data(), EPOCHS, Devices(), state, stopping_at(8))
    continued = made(**options)
    fit(continued, data(), EPOCHS, Devices(), state)
    assert digest(continued) == digest(straight)


@pytest.mark.parametrize(
    ("option", "value"), [("grad_clip_mode", "length"), ("ema_decay", 1.0), ("optimizer", "adams")]
)
def test_unknown_options_of_a_recipe_are_the_users_errors(option: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"{option}.*{value}"):
        fit(made(**{option: value}), data(), 1, Devices())


def test_rates_follow_the_schedule() -> None:
    rates: list[float] = []
    module = made()
    fit(module, data(), EPOCHS, Devices(), listen=lambda _, values: rates.append(values["lr"]))
    assert rates == [module.schedule.at(step) for step in range(STEPS)]


def test_without_resume_an_old_state_is_forgotten(tmp_path: Path, straight: str) -> None:
    path = tmp_path / "state.safetensors"
    with pytest.raises(StopError):
        fit(made(), data(), EPOCHS, Devices(), Resumable(path, {}, True), stopping_at(12))
    seen: list[int] = []
    module = made()
    fit(module, data(), EPOCHS, Devices(), Resumable(path, {}, False), lambda step, _: seen.append(step))
    assert seen[0] == 1
    assert digest(module) == straight


def test_a_state_of_other_settings_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    with pytest.raises(StopError):
        fit(made(), data(), EPOCHS, Devices(), Resumable(path, {"lr": 1}, True), stopping_at(12))
    with pytest.raises(UserError, match="lr=1, now it is 2"):
        fit(made(), data(), EPOCHS, Devices(), Resumable(path, {"lr": 2}, True))
    with pytest.raises(UserError, match="optimizer=adamw, now it is sgd"):
        fit(made(), data(), EPOCHS, Devices(), Resumable(path, {"lr": 1, "optimizer": "sgd"}, True))


def test_a_loss_that_is_not_finite_stops_the_training() -> None:
    module = made()
    with torch.no_grad():
        module.net.head.bias.fill_(float("nan"))
    with pytest.raises(EngineError, match="step 0"):
        fit(module, data(), EPOCHS, Devices())


@pytest.mark.parametrize(
    ("number", "answer"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_signals_end_a_training_and_handlers_survive(number: int, answer: type[BaseException]) -> None:
    def press(step: int, _: Mapping[str, float]) -> None:
        if step == 7:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    with pytest.raises(answer) as caught:
        fit(made(), data(), EPOCHS, Devices(), listen=press)
    assert number != signal.SIGTERM or caught.value.code == 143
    assert signal.getsignal(number) is before


def test_training_is_silent(capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    fit(made(), data(), 1, Devices())
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert not [str(w.message) for w in recwarn if "lightning" in str(w.filename)]


def test_distillation_needs_both_parts() -> None:
    batch = {"image": torch.ones(2, 3, 8, 8), "target": torch.zeros(2, 3)}
    module = made(distiller=None)
    outcome = module.net.forward_with_features(batch["image"])
    plain = module.task.loss(outcome[0], batch)
    assert torch.equal(module.loss(outcome, batch, module._teacher_outputs(batch)), plain)


def test_the_total_loss_is_the_stated_sum() -> None:
    module = made().eval()
    batch = {"image": torch.randn(2, 3, 8, 8), "target": torch.zeros(2, 3)}
    outcome, taught = module.net.forward_with_features(batch["image"]), module._teacher_outputs(batch)
    assert taught is not None
    task = module.task
    expected = 0.9 * task.loss(outcome[0], batch) + 0.1 * F.mse_loss(outcome[0], taught[0])
    expected = expected + module.distiller(outcome[1][-1], taught[1][-1]).total
    assert torch.allclose(module.loss(outcome, batch, taught), expected)


def test_batches_cover_an_epoch_once_and_ranks_share_them() -> None:
    whole = list(EpochBatches(22, 4, seed=3, epoch=1))
    assert len(whole) == len(EpochBatches(22, 4, 3, 1)) == 5
    assert len({index for batch in whole for index in batch}) == 20
    assert whole != list(EpochBatches(22, 4, seed=3, epoch=2))
    shares = [list(EpochBatches(22, 4, 3, 1, rank, 2)) for rank in range(2)]
    assert [sorted(a + b) for a, b in zip(*shares, strict=True)] == [sorted(batch) for batch in whole]


def test_checkpoints_keep_types_and_refuse_what_they_cannot_hold(tmp_path: Path) -> None:
    store, path = SafeCheckpointIO(), tmp_path / "c.safetensors"
    value = {"state": {0: {"x": torch.arange(3)}}, "betas": (0.9, 0.99), "list": [None, True, 1.5, "a"]}
    store.save_checkpoint(value, path)
    loaded = store.load_checkpoint(path)
    assert torch.equal(loaded["state"][0].pop("x"), torch.arange(3))
    assert loaded == {"state": {0: {}}, "betas": (0.9, 0.99), "list": [None, True, 1.5, "a"]}
    with pytest.raises(TypeError, match="object"):
        store.save_checkpoint({"x": object()}, path)
