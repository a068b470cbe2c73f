"""A training goes on from any optimizer step: same order, same augmentation, same weights, bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import Noise, StopError, equal, stopping_at, taught

from evonas.train.fit import Devices, Resumable, fit
from evonas.train.loop.checkpoint_io import SafeCheckpointIO
from evonas.train.loop.data import TrainingData
from evonas.train.module import SubnetModule
from evonas.train.optim.lr_schedule import Schedule

EPOCHS, ITEMS, BATCH = 3, 14, 4
STEPS = EPOCHS * (ITEMS // BATCH)
# the last epoch ends after two of its three batches
SHORT = STEPS - 1
pytestmark = pytest.mark.usefixtures("one_thread")


def made() -> SubnetModule:
    return taught(Schedule(STEPS, 3, 0.05, 0.001, 0.0), projector_lr=0.01)


def train(
    steps: int = STEPS, state: Resumable | None = None, workers: int = 0, stop: int = 0, **options: Any
) -> SubnetModule:
    module, data = made(), TrainingData(Noise(ITEMS), BATCH, 0, workers, **options)
    fit(module, data, -(-steps // 3), Devices(), state, stopping_at(stop))
    return module


@pytest.fixture(scope="module")
def straight() -> SubnetModule:
    torch.set_num_threads(1)
    return train()


def go_on(tmp_path: Path, stop: int, every: int, workers: int, **options: Any) -> tuple[SubnetModule, int]:
    """Crash after `stop` steps, then go on; the module and the step that it went on from."""
    path = tmp_path / "state.safetensors"
    with pytest.raises(StopError):
        train(state=Resumable(path, {}, True, every), workers=workers, stop=stop, **options)
    saved = SafeCheckpointIO().load_checkpoint(path)["global_step"] if path.exists() else 0
    torch.manual_seed(stop)
    module = train(state=Resumable(path, {}, True, every), workers=workers, **options)
    assert not path.exists()
    return module, saved


@pytest.mark.parametrize("stop", range(2, STEPS + 1))
def test_a_crash_after_any_step_changes_nothing(tmp_path: Path, straight: SubnetModule, stop: int) -> None:
    module, saved = go_on(tmp_path, stop, every=1, workers=0)
    assert saved == stop - 1
    assert equal(module, straight)
    task: Any = module.task
    whole: Any = straight.task
    assert task.seen == whole.seen[saved:]


@pytest.mark.parametrize(("stop", "every"), [(3, 2), (5, 2), (6, 2), (8, 5), (9, 2)])
def test_loader_workers_resume_alike(tmp_path: Path, straight: SubnetModule, stop: int, every: int) -> None:
    module, saved = go_on(tmp_path, stop, every, workers=2)
    assert saved == max(step for step in range(stop) if step % every == 0 or step % (ITEMS // BATCH) == 0)
    assert equal(module, straight)


def test_workers_and_checkpoints_are_no_part_of_the_question(tmp_path: Path, straight: SubnetModule) -> None:
    path = tmp_path / "state.safetensors"
    with pytest.raises(StopError):
        train(state=Resumable(path, {}, True, every=2), workers=2, stop=5)
    assert equal(train(state=Resumable(path, {}, True, every=0), workers=0), straight)


def test_a_finished_training_is_not_repeated(tmp_path: Path, straight: SubnetModule) -> None:
    state = Resumable(tmp_path / "state.safetensors", {}, True, keep=True)
    assert equal(train(state=state), straight)
    again = train(state=state, stop=1)
    task: Any = again.task
    assert task.seen == []
    assert equal(again, straight)


@pytest.mark.parametrize("stop", [2, 4, 7, 8])
def test_a_length_in_iterations_ends_within_an_epoch(tmp_path: Path, stop: int) -> None:
    whole = train(steps=SHORT, total_steps=SHORT)
    task: Any = whole.task
    assert len(task.seen) == SHORT
    state = Resumable(tmp_path / "state.safetensors", {}, True, every=1)
    with pytest.raises(StopError):
        train(steps=SHORT, state=state, stop=stop, total_steps=SHORT)
    assert equal(train(steps=SHORT, state=state, total_steps=SHORT), whole)


def test_an_epoch_may_have_a_ceiling() -> None:
    heard: list[int] = []
    data = TrainingData(Noise(ITEMS), BATCH, 0, max_batches=2)
    assert data.steps_per_epoch == 2
    fit(made(), data, EPOCHS, Devices(), listen=lambda step, _: heard.append(step))
    assert heard == [1, 2, 3, 4, 5, 6]
