"""The stages that train, run for real on a few tiny images."""

import json
from pathlib import Path
from typing import Any

import pytest
import small_stages
import torch
from omegaconf import DictConfig

from evonas import weights
from evonas.errors import DataError, UserError
from evonas.run import Run
from evonas.stages import rank
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.build.setup import Setup
from evonas.stages.pretrain import Pretrain
from evonas.stages.rank import Rank
from evonas.stages.retrain import Retrain
from evonas.stages.supernet import Supernet
from evonas.stages.teacher import Teacher
from evonas.supernets.base import cost

OPTIONS = [
    "data.train=12",
    "data.validation=4",
    "data.test=2",
    "train.panel_random=1",
    "train.teacher.epochs=1",
    "train.retrain.epochs=1",
    "train.rank.epochs=1",
    "train.supernet.batch_size=4",
    "rank.subnets=3",
    "sampler.steps=[{name: max, opened: {d: all}, epochs: 1}, {name: depth, num_subnets: 2, epochs: 2}]",
]


pytestmark = pytest.mark.usefixtures("one_thread")


def composed(*overrides: str) -> DictConfig:
    return small_stages.composed(*OPTIONS, *overrides)


def context(directory: Path, *overrides: str, resume: bool = False) -> Context:
    return small_stages.context(directory, *OPTIONS, *overrides, resume=resume)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with starting weights, a teacher and a supernet."""
    directory = tmp_path_factory.mktemp("trained")
    for stage in (Pretrain(), Teacher(), Supernet()):
        stage.run(context(directory))
    return directory


def test_the_teacher_leaves_weights_and_validation_metrics(trained: Path) -> None:
    result = read(trained / "teacher/result.json")
    assert result["steps"] == 1
    assert result["metrics"]["abs_rel"] > 0
    factory.load_teacher(context(trained))
    assert (trained / "teacher/metrics.csv").read_text().count("abs_rel") == 1
    assert not list((trained / "teacher").glob("state*"))


def test_the_supernet_leaves_weights_and_a_panel_per_step(trained: Path) -> None:
    panel = read(trained / "supernet/panel.json")
    assert panel["error_name"] == "abs_rel"
    assert [step["name"] for step in panel["steps"]] == ["max", "depth"]
    names = [[row["name"] for row in step["panel"]] for step in panel["steps"]]
    assert names == [["max", "min", "random1"]] * 2
    net = factory.load_supernet(context(trained))
    first = panel["steps"][0]["panel"]
    assert net.space.parse(first[0]["genotype"]) == net.space.largest()
    assert panel["steps"][1]["panel"] != first
    assert not net.training
    assert not list((trained / "supernet/curriculum").iterdir())


def test_a_stopped_supernet_continues_to_the_same_weights(trained: Path, tmp_path: Path) -> None:
    """Stopped in the second step's second epoch: step one and an epoch are not repeated."""
    Pretrain().run(context(tmp_path))
    inputs = Run(tmp_path, "synthetic", resume=True, inputs=trained)
    task = Setup(composed()).task
    stop = _stop_after(task, calls=3 + 2 * 3 + 2 * 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Setup, "task", stop)
        with pytest.raises(KeyboardInterrupt):
            Supernet().run(Context(composed(), inputs))
    left = sorted(path.name for path in (tmp_path / "supernet/curriculum").glob("*.safetensors"))
    assert left == ["0-max.safetensors", "1-depth.state.safetensors"]
    Supernet().run(Context(composed(), inputs))
    straight = weights.load(trained / factory.SUPERNET)
    continued = weights.load(tmp_path / factory.SUPERNET)
    assert all(torch.equal(straight[name], continued[name]) for name in straight)
    assert read(tmp_path / "supernet/panel.json") == read(trained / "supernet/panel.json")


def _stop_after(task: Any, calls: int) -> Any:
    """The same task, whose loss is interrupted at one call, as Ctrl-C would."""
    loss, counted = task.loss, []

    def counting(*args: Any) -> torch.Tensor:
        counted.append(1)
        if len(counted) == calls:
            raise KeyboardInterrupt
        return loss(*args)

    task.loss = counting
    return task


def test_a_continuation_with_another_recipe_is_refused(trained: Path, tmp_path: Path) -> None:
    Pretrain().run(context(tmp_path))
    run = Run(tmp_path, "synthetic", resume=True, inputs=trained)
    stop = _stop_after(Setup(composed()).task, calls=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Setup, "task", stop)
        with pytest.raises(KeyboardInterrupt):
            Supernet().run(Context(composed(), run))
    with pytest.raises(UserError, match=r"lr=0\.004, now it is 0\.1"):
        Supernet().run(Context(composed("train.supernet.lr=0.1"), run))


def test_a_missing_input_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pretrain/supernet") as caught:
        Supernet().run(context(tmp_path))
    assert "stage=pretrain" in caught.value.hint


@pytest.fixture(scope="module")
def retrained(trained: Path) -> Path:
    space = Setup(composed()).space
    nets = [
        {"name": name, "genotype": space.format(genotype), "objectives": {}, "reason": ""}
        for name, genotype in (("max", space.largest()), ("knee", space.smallest()))
    ]
    (trained / "selected.json").write_text(json.dumps({"error_name": "abs_rel", "nets": nets}))
    Retrain().run(context(trained, "train.scratch=true"))
    return trained


def test_retraining_reports_inherited_retrained_and_scratch(retrained: Path) -> None:
    for name in ("max", "knee"):
        result = read(retrained / f"retrain/{name}/result.json")
        assert result["name"] == name and result["steps"] == 1
        errors = [result[kind]["abs_rel"] for kind in ("inherited", "retrained", "scratch")]
        assert len(set(errors)) == 3
    first = weights.load(retrained / "retrain/knee/model.safetensors")
    scratch = weights.load(retrained / "retrain/knee/scratch.safetensors")
    assert {k: v.shape for k, v in first.items()} == {k: v.shape for k, v in scratch.items()}


def test_a_resumed_retraining_keeps_what_is_done(retrained: Path) -> None:
    path = retrained / "retrain/max/result.json"
    before = path.stat().st_mtime_ns
    (retrained / "retrain/knee/result.json").unlink()
    kept = weights.load(retrained / "retrain/knee/model.safetensors")
    Retrain().run(context(retrained, "train.scratch=true", resume=True))
    assert path.stat().st_mtime_ns == before
    again = weights.load(retrained / "retrain/knee/model.safetensors")
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_a_resumed_retraining_repeats_what_was_made_otherwise(retrained: Path) -> None:
    before = weights.digest(retrained / "retrain/knee/model.safetensors")
    changed = context(retrained, "train.scratch=true", "train.retrain.lr=0.1", resume=True)
    Retrain().run(changed)
    assert weights.digest(retrained / "retrain/knee/model.safetensors") != before


def test_a_resumed_teacher_is_kept_only_with_the_same_recipe(trained: Path, tmp_path: Path) -> None:
    first = context(tmp_path, resume=True)
    Teacher().run(first)
    made = weights.digest(tmp_path / factory.TEACHER)
    assert made == weights.digest(trained / factory.TEACHER)
    assert "is trained" in Teacher().run(first)
    assert "is trained" not in Teacher().run(context(tmp_path, "train.teacher.lr=0.1", resume=True))
    assert weights.digest(tmp_path / factory.TEACHER) != made


def test_rank_measures_tau_over_macs(trained: Path) -> None:
    line = Rank().run(context(trained))
    result = read(trained / "rank/rank.json")
    assert len(result["pairs"]) == 3
    macs = [pair["macs"] for pair in result["pairs"]]
    assert macs == sorted(macs) and len(set(macs)) == 3
    assert -1 <= result["tau"] <= 1 and result["low"] <= result["tau"] <= result["high"]
    assert "Kendall" in line and "by params alone" in line
    assert set(result["predictors"]) == {"inherited", "macs", "params"}


def test_rank_spreads_from_smallest_to_largest(trained: Path) -> None:
    net = factory.load_supernet(context(trained))
    chosen = rank.spread(net, (32, 32), 6, seed=0)
    assert (chosen[0][0], chosen[-1][0]) == (net.space.smallest(), net.space.largest())
    assert len({genotype for genotype, _ in chosen}) == 6
    expected = [cost(net.family, genotype, (32, 32)).macs for genotype, _ in chosen]
    assert [macs for _, macs in chosen] == expected


def test_foreign_starting_weights_are_adopted_and_recorded(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    net = factory.supernet(ctx.setup)
    name, tensor = next(iter(net.backbone.state_dict().items()))
    torch.save({"model": {name: torch.full_like(tensor, 7.0), "other": torch.ones(3)}}, tmp_path / "in.pth")
    Pretrain(str(tmp_path / "in.pth")).run(ctx)
    made = weights.load(tmp_path / "pretrain/supernet.safetensors")
    assert (made[f"backbone.{name}"] == 7.0).all()
    meta = weights.load_meta(tmp_path / "pretrain/supernet.safetensors")
    assert (meta["source"], meta["adopted"]) == ("in.pth", 1)
    torch.save({"other": torch.ones(3)}, tmp_path / "none.pth")
    with pytest.raises(DataError, match=r"none\.pth"):
        Pretrain(str(tmp_path / "none.pth")).run(ctx)


def test_the_seed_reaches_every_part() -> None:
    first, second = (factory.supernet(Setup(composed(f"seed={seed}"))) for seed in (1, 2))
    assert not torch.equal(first.head.predict.weight, second.head.predict.weight)
    state, other = first.backbone.state_dict(), second.backbone.state_dict()
    matrices = [name for name in state if name.endswith("weight") and state[name].ndim > 1]
    assert not any(torch.equal(state[name], other[name]) for name in matrices)


def test_without_distillation_no_teacher_is_needed(tmp_path: Path) -> None:
    cfg = composed("distill=none")
    run = Run(tmp_path, "synthetic")
    assert "no teacher" in Teacher().run(Context(cfg, run))
    Pretrain().run(Context(cfg, run))
    Supernet().run(Context(cfg, run))
    assert (tmp_path / factory.SUPERNET).exists()
    assert not (tmp_path / factory.TEACHER).exists()


def test_weights_of_another_network_are_refused(trained: Path) -> None:
    with pytest.raises(DataError, match="another network"):
        factory.load_supernet(context(trained, "network.stem_dim=16"))
