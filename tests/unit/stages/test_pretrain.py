"""Starting weights: seeded, adopted from files and runs, or trained along a curriculum."""

import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from published_vssd import Checkpoint, Sizes

from evonas import schema, weights
from evonas.cli import conf_dir
from evonas.errors import DataError
from evonas.run import Run
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.build.setup import Setup
from evonas.stages.pretrain import PRETRAINED, START, Pretrain
from evonas.stages.supernet import Supernet

SIZES = Sizes(dims=(8, 16, 16, 16), depths=(2, 2, 4, 2), heads=(2, 2, 2, 2), states=32, mlp=3, stem=8)
NETWORK = ["network.dims=[8,16,16,16]", "network.heads=[2,2,2,2]", "network.stem_dim=8"]
SHAPES = [
    "+task=shapes", *NETWORK, "network.stem_ratio=4.0", "network.merge_ratio=4.0",
    "data.train=12", "data.validation=4", "data.test=4", "data.height=32", "data.width=32",
    "train.panel_random=1", "train.pretrain.batch_size=4",
    "sampler.steps=[{name: max, opened: {d: all}, epochs: 1}, {name: free, num_subnets: 2, epochs: 1}]",
]  # fmt: skip
DEPTH = [
    "+task=synthetic", "network=nano", *NETWORK, "network.stem_ratio=4.0", "network.merge_ratio=4.0",
    "head.width=8", "distill=none",
    "data.train=8", "data.validation=2", "data.test=2", "data.height=32", "data.width=32",
    "train.panel_random=1", "train.supernet.batch_size=4",
    "sampler.steps=[{name: max, opened: {d: all}, epochs: 1}]",
]  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


def composed(overrides: list[str], *more: str) -> DictConfig:
    schema.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", overrides=[*overrides, *more])


def shapes(directory: Path, *more: str, resume: bool = False) -> Context:
    return Context(composed(SHAPES, *more), Run(directory, "shapes", resume=resume))


def depth(directory: Path, inputs: Path | None = None, *more: str) -> Context:
    return Context(composed(DEPTH, *more), Run(directory, "synthetic", inputs=inputs))


def same(first: Path, second: Path, start: str) -> bool:
    one, two = weights.load(first), weights.load(second)
    names = [name for name in one if name.startswith(start)]
    assert names
    return all(torch.equal(one[name], two[name]) for name in names)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pretrained")
    line = Pretrain(train=None).run(shapes(directory))
    assert line.startswith("Pretrained, mean validation top-1 of the panel 0.")
    return directory


def test_a_classification_trains_its_starting_weights(pretrained: Path) -> None:
    panel = json.loads((pretrained / "pretrain/panel.json").read_text())
    assert panel["error_name"] == "error"
    assert [step["name"] for step in panel["steps"]] == ["max", "free"]
    assert (pretrained / "pretrain/metrics.csv").read_text().count("panel/max") >= 2
    fresh = factory.supernet(Setup(composed(SHAPES))).state_dict()
    trained = weights.load(pretrained / PRETRAINED)
    matrices = [name for name in fresh if name.endswith("weight") and fresh[name].ndim > 1]
    assert not any(torch.equal(fresh[name], trained[name]) for name in matrices)


def test_a_finished_pretraining_is_not_repeated(pretrained: Path) -> None:
    before = weights.digest(pretrained / PRETRAINED)
    assert "is pretrained" in Pretrain(train=True).run(shapes(pretrained, resume=True))
    assert weights.digest(pretrained / PRETRAINED) == before


def test_without_a_wish_dense_tasks_stay_seeded(tmp_path: Path) -> None:
    assert Pretrain(train=None).run(depth(tmp_path)).startswith("Starting weights from seed")
    fresh = factory.supernet(Setup(composed(DEPTH))).state_dict()
    made = weights.load(tmp_path / PRETRAINED)
    assert all(torch.equal(fresh[name], made[name]) for name in fresh)


def test_a_dense_task_starts_from_a_pretrained_run(pretrained: Path, tmp_path: Path) -> None:
    line = Pretrain().run(depth(tmp_path, pretrained))
    assert same(tmp_path / PRETRAINED, pretrained / PRETRAINED, "backbone.")
    seeded = factory.supernet(Setup(composed(DEPTH))).state_dict()
    made = weights.load(tmp_path / PRETRAINED)
    assert all(torch.equal(made[name], seeded[name]) for name in made if name.startswith("head."))
    meta = weights.load_meta(tmp_path / PRETRAINED)
    assert meta["sha256"] == weights.digest(pretrained / PRETRAINED)
    assert meta["adopted"] == len([name for name in made if name.startswith("backbone.")])
    assert meta["unused"] == ["head.linear.bias", "head.linear.weight"]
    assert f"{meta['adopted']} of {len(made)} tensors adopted" in line
    assert "head.laterals.0.weight" in line and "head.linear.weight" in line


def test_the_same_file_can_be_named_and_the_supernet_goes_on(pretrained: Path, tmp_path: Path) -> None:
    context = depth(tmp_path)
    Pretrain(weights=str(pretrained / PRETRAINED)).run(context)
    assert same(tmp_path / PRETRAINED, pretrained / PRETRAINED, "backbone.")
    Supernet().run(context)
    assert (tmp_path / factory.SUPERNET).exists()


def test_a_run_of_the_same_task_hands_over_its_head_too(pretrained: Path, tmp_path: Path) -> None:
    context = Context(composed(SHAPES), Run(tmp_path, "shapes", inputs=pretrained))
    Pretrain().run(context)
    assert same(tmp_path / PRETRAINED, pretrained / PRETRAINED, "")


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_published_checkpoint_is_adopted(tmp_path: Path, ending: str) -> None:
    state = Checkpoint(SIZES).classifier(1000)
    path = tmp_path / f"vssd.{ending}"
    if ending == "pth":
        torch.save({"model": state, "epoch": 299}, path)
    else:
        weights.save(path, state)
    line = Pretrain(weights=str(path)).run(shapes(tmp_path))
    meta = weights.load_meta(tmp_path / PRETRAINED)
    assert (meta["naming"], meta["padded"]) == ("vssd", [])
    assert meta["unused"] == ["head.weight", "head.bias"] or meta["unused"] == ["head.bias", "head.weight"]
    assert "left fresh: 8 (backbone.stages.0.norm.weight, " in line and "head.bias" in line
    made = weights.load(tmp_path / PRETRAINED)
    assert torch.equal(made["backbone.stages.3.norm.weight"], state["norm.weight"])


def test_a_small_checkpoint_in_a_larger_net_is_padded_and_said(tmp_path: Path) -> None:
    path = tmp_path / "small.pth"
    torch.save(Checkpoint(SIZES).backbone(), path)
    larger = shapes(tmp_path, "space.expand=[1,2,4]")
    line = Pretrain(weights=str(path), widening="copies").run(larger)
    assert "56 of them padded" in line
    assert len(weights.load_meta(tmp_path / PRETRAINED)["padded"]) == 56


def test_training_goes_on_from_a_file(tmp_path: Path, pretrained: Path) -> None:
    context = shapes(tmp_path)
    Pretrain(weights=str(pretrained / PRETRAINED), train=True).run(context)
    assert same(tmp_path / START, pretrained / PRETRAINED, "")
    assert not same(tmp_path / PRETRAINED, pretrained / PRETRAINED, "backbone.stem.enter.0")


def test_what_does_not_fit_is_said_with_the_file_and_a_command(tmp_path: Path) -> None:
    path = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.ones(4, 3, 7, 7)}, path)
    with pytest.raises(DataError, match=r"resnet\.pth.*conv1\.weight") as caught:
        Pretrain(weights=str(path)).run(shapes(tmp_path))
    assert "patch_embed.conv1.conv.weight" in caught.value.hint
    torch.save(Checkpoint(Sizes(stem=16)).backbone(), path)
    with pytest.raises(DataError, match=r"resnet\.pth: No tensor .* fits") as caught:
        Pretrain(weights=str(path)).run(shapes(tmp_path))
    assert "network=evonet space=evonet" in caught.value.hint
    assert not (tmp_path / PRETRAINED).exists()
