"""Which weights a curriculum step hands on, whatever happens while it trains."""

import json
from pathlib import Path
from typing import Any

import pytest
import small_stages
import torch

from evonas import weights
from evonas.errors import UserError
from evonas.stages.base import Context
from evonas.stages.pretrain import Pretrain
from evonas.stages.supernet import Supernet
from evonas.stages.training import supernet_trainer
from evonas.stages.training.supernet_trainer import SupernetTrainer
from evonas.train import validation_panel

OPTIONS = [
    "data.train=8",
    "data.validation=2",
    "data.test=1",
    "distill=none",
    "tracker=none",
    "train.panel_random=1",
    "train.panel_every=1",
    "train.supernet.batch_size=4",
    "sampler.steps=[{name: max, opened: {d: all}, epochs: 3}, {name: depth, num_subnets: 2, iterations: 3}]",
]
# errors of the step's own panel in the order of its measurements; the second is the best of "max"
SCORES = [0.5, 0.2, 0.3, 0.9, 0.8]
pytestmark = pytest.mark.usefixtures("one_thread")


def context(directory: Path, *overrides: str, resume: bool = False) -> Context:
    return small_stages.context(directory, *OPTIONS, *overrides, resume=resume)


def read(directory: Path) -> Any:
    return json.loads((directory / "supernet/panel.json").read_text())


def walk(directory: Path, *overrides: str, resume: bool = False) -> dict[str, torch.Tensor]:
    ctx = context(directory, *overrides, resume=resume)
    if not (directory / "pretrain").exists():
        Pretrain().run(ctx)
    Supernet().run(ctx)
    return weights.load(directory / "supernet/supernet.safetensors")


@pytest.fixture(autouse=True)
def scored(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The mean errors of the panels within steps are SCORES, by curriculum step and epoch."""
    given: list[float] = []
    real = SupernetTrainer._best_checkpoint

    def chain(self: SupernetTrainer, index: int, step: Any, identity: Any) -> Any:
        made = real(self, index, step, identity)
        if made is not None:
            offset = 3 * index
            made._score = lambda _: given.append(SCORES[offset + len(made.measured)]) or given[-1]
        return made

    monkeypatch.setattr(SupernetTrainer, "_best_checkpoint", chain)
    return given


def test_the_best_of_a_step_is_handed_on(tmp_path: Path, scored: list[float]) -> None:
    best = walk(tmp_path / "best")
    last = walk(tmp_path / "last", "sampler.continue_from=last")
    assert scored == SCORES * 2
    steps = read(tmp_path / "best")["steps"]
    assert [step["best_epoch"] for step in steps] == [2, 2]
    assert [[each["error"] for each in step["measured"]] for step in steps] == [SCORES[:3], SCORES[3:]]
    assert [[each["epoch"] for each in step["measured"]] for step in steps] == [[1, 2, 3], [1, 2]]
    assert [step["best_epoch"] for step in read(tmp_path / "last")["steps"]] == [None, None]
    assert any(not torch.equal(best[name], last[name]) for name in best)
    names = [row["name"] for row in steps[0]["measured"][0]["panel"]]
    assert names == ["max", "min", "random1"]
    assert not list((tmp_path / "best/supernet/curriculum").iterdir())


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_the_best_weights_are_those_of_their_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decay: float
) -> None:
    """With an average of the weights, the panel measures the average, and the average is handed on."""
    seen: list[dict[str, torch.Tensor]] = []
    real = validation_panel.measure

    def measure(net: Any, *args: Any) -> Any:
        seen.append({name: tensor.clone() for name, tensor in net.state_dict().items()})
        return real(net, *args)

    monkeypatch.setattr(validation_panel, "measure", measure)
    steps = "sampler.steps=[{name: max, opened: {d: all}, epochs: 3}]"
    chosen = walk(tmp_path, steps, f"train.supernet.ema_decay={decay}")
    # three epochs of the step, then the panel of the whole space on the weights that are handed on
    assert len(seen) == 4
    for state, is_chosen in zip(seen, (False, True, False, True), strict=True):
        assert all(torch.equal(state[name], chosen[name]) for name in chosen) == is_chosen


def _straight(base: Path) -> dict[str, torch.Tensor]:
    """The undisturbed walk, trained once a session."""
    path = base / "straight/supernet/supernet.safetensors"
    return weights.load(path) if path.exists() else walk(base / "straight")


class StopError(Exception):
    """Stands for a crash."""


SLOW_STOPS = [pytest.param(stop, marks=pytest.mark.slow) for stop in (1, 2, 3, 4, 5, 6, 7, 9)]


@pytest.mark.parametrize("stop", [8, *SLOW_STOPS])
def test_a_kill_at_any_step_changes_neither_choice_nor_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    straight = _straight(tmp_path.parent)
    calls: list[int] = []

    def stopping(_: Any, step: int, values: Any) -> None:
        if values:
            calls.append(step)
        if len(calls) == stop:
            raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(supernet_trainer.TrainingLogger, "__call__", stopping)
        with pytest.raises(StopError):
            walk(tmp_path / "killed", "train.supernet.checkpoint_steps=1")
    continued = walk(tmp_path / "killed", "hardware.loader_workers=0", resume=True)
    assert all(torch.equal(straight[name], continued[name]) for name in straight)
    assert read(tmp_path / "killed") == read(tmp_path.parent / "straight")


def test_a_finished_supernet_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walk(tmp_path, "train.panel_every=0")
    made = (tmp_path / "supernet/supernet.safetensors").stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(SupernetTrainer, "run", lambda _: pytest.fail("trained again"))
        again = context(tmp_path, "train.panel_every=0", "train.supernet.checkpoint_steps=7", resume=True)
        assert "is trained" in Supernet().run(again)
    assert (tmp_path / "supernet/supernet.safetensors").stat().st_mtime_ns == made
    line = Supernet().run(context(tmp_path, "train.panel_every=0", "train.supernet.lr=0.1", resume=True))
    assert "is trained" not in line


def test_another_chain_is_another_question(tmp_path: Path) -> None:
    Pretrain().run(context(tmp_path))
    start = tmp_path / "pretrain/supernet.safetensors"
    overrides = (
        "seed=0",
        "train.panel_every=2",
        "sampler.continue_from=last",
        "train.bn_calibration_images=2",
    )
    made = [SupernetTrainer(context(tmp_path, each), "supernet", start).identity() for each in overrides]
    assert all(made[0] != other for other in made[1:])


def test_ceilings_shorten_every_training(tmp_path: Path) -> None:
    walk(tmp_path, "limits.max_epochs=1", "limits.max_batches=1", "train.bn_calibration_images=4")
    steps = read(tmp_path)["steps"]
    assert [[each["epoch"] for each in step["measured"]] for step in steps] == [[1], [1]]
    meta = weights.load_meta(tmp_path / "supernet/supernet.safetensors")
    assert [step["max_batches"] for step in meta["identity"]["steps"]] == [1, 1]
    with pytest.raises(UserError, match="continue_from=middle"):
        walk(tmp_path / "wrong", "sampler.continue_from=middle")
