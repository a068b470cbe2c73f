"""Stopped between the end of a training and its result, a stage does not train again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_stages
import torch

from evonas import files, weights
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.build.setup import Setup
from evonas.stages.pretrain import Pretrain
from evonas.stages.rank import Rank
from evonas.stages.retrain import Retrain
from evonas.stages.supernet import Supernet
from evonas.stages.teacher import Teacher

OPTIONS = (
    "data.train=8",
    "data.validation=2",
    "data.test=1",
    "distill=none",
    "tracker=none",
    "train.panel_random=0",
    "train.retrain.epochs=1",
    "train.rank.epochs=1",
    "train.teacher.epochs=1",
    "train.supernet.batch_size=4",
    "train.scratch=true",
    "rank.subnets=3",
    "sampler.steps=[{name: free, epochs: 1}]",
)
pytestmark = pytest.mark.usefixtures("one_thread")


def context(directory: Path, *overrides: str, resume: bool = False) -> Context:
    return small_stages.context(directory, *OPTIONS, *overrides, resume=resume)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a supernet and one selected net."""
    directory = tmp_path_factory.mktemp("trained")
    for stage in (Pretrain(), Supernet()):
        stage.run(context(directory))
    genotype = context(directory).setup.space
    net = {"name": "knee", "genotype": genotype.format(genotype.smallest()), "objectives": {}, "reason": ""}
    (directory / "selected.json").write_text(json.dumps({"error_name": "abs_rel", "nets": [net]}))
    return directory


def stopped_at(owner: Any, name: str, path: str, patch: pytest.MonkeyPatch) -> None:
    """Let the first write to a path be the last thing that happens."""
    write: Callable[..., Any] = getattr(owner, name)

    def stopping(target: Path, *args: Any, **kwargs: Any) -> Any:
        if target.as_posix().endswith(path):
            raise KeyboardInterrupt
        return write(target, *args, **kwargs)

    patch.setattr(owner, name, stopping)


def interrupt(stage: Any, made: Context, owner: Any, name: str, path: str) -> list[str]:
    """Run a stage up to a write; the states of trainings that it leaves, by name."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stopped_at(owner, name, path, patch)
        stage.run(made)
    return states(made.run.path(path).parent)


def states(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*state.safetensors"))


def trained_steps(stage: Any, made: Context) -> int:
    """Run a stage to its end; how many optimizer steps it took."""
    task, calls = made.setup.task, []
    loss = task.loss

    def counting(*args: Any) -> torch.Tensor:
        calls.append(1)
        return loss(*args)

    task.loss = counting
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Setup, "task", task)
        stage.run(made)
    return len(calls)


@pytest.mark.parametrize(
    ("owner", "name", "path"),
    [(weights, "save", "teacher/teacher.safetensors"), (files, "write_json", "teacher/result.json")],
)
def test_a_teacher(tmp_path: Path, owner: Any, name: str, path: str) -> None:
    distilled = "distill=caddkd"
    straight = tmp_path / "straight"
    assert trained_steps(Teacher(), context(straight, distilled)) > 0
    left = interrupt(Teacher(), context(tmp_path / "run", distilled), owner, name, path)
    assert left == ["state.safetensors"]
    assert trained_steps(Teacher(), context(tmp_path / "run", distilled, resume=True)) == 0
    made = [weights.digest(folder / factory.TEACHER) for folder in (straight, tmp_path / "run")]
    assert made[0] == made[1]
    assert states(tmp_path / "run/teacher") == []


def test_a_retraining_and_its_comparison_from_scratch(trained: Path) -> None:
    path = "retrain/knee/result.json"
    left = interrupt(Retrain(), context(trained), files, "write_json", path)
    assert left == ["model.state.safetensors", "scratch.state.safetensors"]
    kinds = [trained / f"retrain/knee/{kind}.safetensors" for kind in ("model", "scratch")]
    before = [weights.digest(kind) for kind in kinds]
    assert trained_steps(Retrain(), context(trained, resume=True)) == 0
    assert [weights.digest(kind) for kind in kinds] == before
    assert states(trained / "retrain/knee") == []
    (trained / path).unlink()
    assert trained_steps(Retrain(), context(trained, resume=True)) > 0


def test_a_ranking_check(trained: Path) -> None:
    (left,) = interrupt(Rank(), context(trained), files, "write_json", "rank/pairs.json")
    whole = trained_steps(Rank(), context(trained, resume=True))
    assert not (trained / "rank" / left).exists() and states(trained / "rank") == []
    # the first of three subnets was trained already
    (trained / "rank/pairs.json").unlink()
    assert 2 * trained_steps(Rank(), context(trained, resume=True)) == 3 * whole


def test_a_pair_that_is_known_leaves_no_state(trained: Path) -> None:
    Rank().run(context(trained))
    (trained / "rank/rank.json").unlink()
    pairs = json.loads((trained / "rank/pairs.json").read_text())["pairs"]
    assert len(pairs) == 3 and states(trained / "rank") == []
    assert trained_steps(Rank(), context(trained, resume=True)) == 0
