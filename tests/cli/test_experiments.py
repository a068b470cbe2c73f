"""Experiments of other papers, in debug on trees of the true layout."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from public_images import WRITERS
from trees import scenes

import evonas
from evonas.config import build
from evonas.data.classification.catalogue import KINDS
from evonas.report.archive_reader import read
from evonas.schema import Recipe


def write_cifar10(root: Path, images: int = 20) -> None:
    """The binary version: one byte of label and 3072 of pixels a record."""
    folder, rng = root / "cifar-10-batches-bin", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
        records = rng.integers(0, 256, (images, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(images) % 10
        (folder / name).write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(f"class{number}" for number in range(10)))


def test_nsganetv2_trains_what_it_measures(evonas_command: Callable, tmp_path: Path) -> None:
    write_cifar10(tmp_path / "data")
    small = ("network=ofa_nano", "data.views.size=32", "data.views.resize=32", "data.views.cutout=8")
    words = ("+experiment=nsganetv2_cifar10", f"data.root={tmp_path}/data", "limits=debug", "run=one", *small)
    own = ("space.resolutions=[0.5,1.0]", "search.initial=4", "budget.population=2", "budget.evaluations=6")
    for stage in ("pretrain", "supernet", "search"):
        ended = evonas_command(*words, *own, "train.finetune.batch_size=8", f"stage={stage}")
        assert ended.code == 0, ended.err
    found = read(tmp_path / "outputs/one/search/archive.sqlite")
    assert len(found.genotypes) == 6 and found.names == ("error", "macs")
    assert {extra["trained_steps"] for extra in found.extras} == {4}


@pytest.mark.parametrize("name", KINDS)
def test_nsganetv2_searches_its_space_by_its_recipe_on_every_set(name: str) -> None:
    from test_conf import composed

    cfg = composed(f"+experiment=nsganetv2_{name}", "data.root=x")
    space = build(cfg.space)
    # five depths, twenty kernels and expansions, one resolution; 7371 networks a stage
    assert len(space.axes) == 46 and space.size() == 7371**5 * 17
    assert cfg.data.name == name
    recipe = Recipe(**cfg.train.finetune)
    assert (recipe.epochs, recipe.optimizer) == (5, "sgd")
    assert cfg.objective.error["_target_"].endswith("FinetunedError") and cfg.search.initial == 100


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "aircraft", "pets"])
def test_ednag_of_mobilenet_is_trained_by_its_recipe(name: str) -> None:
    from test_conf import composed

    cfg = composed(f"+experiment=ednag_mbv3_{name}", "data.root=x")
    assert build(cfg.space).size() == 7371**5
    assert (cfg.network.width, cfg.network.drop_path, cfg.head.dropout) == (1.2, 0.4, 0.4)
    for recipe in (Recipe(**cfg.train.finetune), Recipe(**cfg.train.retrain)):
        assert (recipe.epochs, recipe.batch_size, recipe.optimizer, recipe.lr) == (20, 96, "momentum", 0.01)
        assert (recipe.weight_decay, recipe.grad_clip, recipe.schedule) == (4e-5, 5.0, "cosine")
    assert (cfg.data.views.size, cfg.data.views.cutout) == (224, 16)
    assert cfg.data.views.auto_augment == ("cifar10" if name.startswith("cifar") else "imagenet")
    assert list(cfg.objective) == ["error"] and cfg.objective.error["_target_"].endswith("FinetunedError")


_MOBILENET = ("network=ofa_nano", "space.resolutions=[1.0]", "data.views.size=32", "data.views.resize=32")
_SLOW = ("mbv3_cifar10", "mbv3_cifar100", "mbv3_aircraft", "nb201_aircraft")


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.slow) for name in _SLOW), "mbv3_pets", "nb201_pets"]
)
def test_ednag_trains_what_it_draws(name: str, evonas_command: Callable, tmp_path: Path) -> None:
    WRITERS[name.partition("_")[2]](tmp_path)
    small = _MOBILENET if name.startswith("mbv3") else ("network=nb201_nano",)
    words = (f"+experiment=ednag_{name}", f"data.root={tmp_path}", "data.validation=0.5", "run=one")
    own = ("data.views.cutout=8", "search.initial=4", "search.population=2", "search.proposer.steps=4")
    fewer = ("search.proposer.population=8", "limits=debug", "limits.max_batches=1", "hardware.engine=inline")
    batches = ("train.finetune.batch_size=8", "train.retrain.batch_size=8", "budget.evaluations=6")
    for stage in ("pretrain", "supernet", "search"):
        ended = evonas_command(*words, *small, *own, *fewer, *batches, f"stage={stage}")
        assert ended.code == 0, (stage, ended.err)
    found = read(tmp_path / "outputs/one/search/archive.sqlite")
    assert len(found.genotypes) == 6 and found.names == ("error",)
    assert {extra["trained_steps"] for extra in found.extras} == {1}


@pytest.mark.parametrize("name", ["aircraft", "pets"])
def test_ednag_trains_cells_on_other_sets_by_the_benchmarks_recipe(name: str) -> None:
    from test_conf import composed

    cfg = composed(f"+experiment=ednag_nb201_{name}", "data.root=x")
    assert build(cfg.space).size() == 15625
    short, whole = Recipe(**cfg.train.finetune), Recipe(**cfg.train.retrain)
    assert (short.epochs, whole.epochs, whole.warmup_epochs) == (12, 200, 10.0)
    for recipe in (short, whole):
        assert (recipe.batch_size, recipe.optimizer, recipe.lr, recipe.weight_decay) == (
            256,
            "sgd",
            0.1,
            5e-4,
        )
    inner = cfg.search.proposer
    assert (inner.population, inner.eta, inner.diverse, inner.lower_params) == (30, 5.0, 0.3, 0.0)
    assert (cfg.network.channels, cfg.network.cells) == (16, 5)
    assert (cfg.data.views.size, cfg.data.views.cutout) == (32, 5)
    assert cfg.sampler == {} and cfg.task.smoothing == 0


def test_cells_are_trained_on_images_of_ones_own(evonas_command: Callable, tmp_path: Path) -> None:
    """From the shapes that are drawn here to an exported cell, which answers as a plain module."""
    small = (
        "network=nb201_nano",
        "sampler=none",
        "fidelity=finetune",
        "objective=[error,macs]",
        "baselines=[]",
    )
    data = ("data.train=64", "data.validation=32", "data.test=20", "data.height=32", "data.width=32")
    budget = ("limits=debug", "limits.max_batches=1", "budget.population=4", "budget.evaluations=8")
    words = ("+task=shapes", "run=cells", *small, *data, *budget)
    for stage in ("pretrain", "supernet", "search", "select", "retrain", "evaluate", "export"):
        ended = evonas_command(*words, "hardware.engine=inline", f"stage={stage}")
        assert ended.code == 0, (stage, ended.err)
    found = read(tmp_path / "outputs/cells/search/archive.sqlite")
    assert len(found.genotypes) == 8 and found.names == ("error", "macs")
    loaded = evonas.load("run:cells#knee", "outputs").eval()
    with torch.no_grad():
        assert loaded(torch.randn(1, 3, 32, 32)).shape == (1, 10)


def test_elasticvit_trains_and_searches_by_its_recipe(evonas_command: Callable, tmp_path: Path) -> None:
    root = scenes.imagenet(tmp_path / "imagenet")
    small = ("network=elasticvit_nano", "sampler=elasticvit_nano", "+sampler.strategy.size=8", "head.mix=32")
    views = ("data.views.size=64", "data.views.resize=64", "search.windows.macs=[0.001,0.01]")
    words = (
        "+experiment=elasticvit_imagenet",
        f"data.root={root}",
        "data.num_classes=3",
        "limits=debug",
        *small,
    )
    for stage in (["pretrain", "stage.train=false"], ["teacher"], ["supernet"], ["search"]):
        own = (*views, "hardware.engine=inline", "run=one", f"stage={stage[0]}", *stage[1:])
        ended = evonas_command(*words, *own)
        assert ended.code == 0, ended.err
    found = read(tmp_path / "outputs/one/search/archive.sqlite")
    assert len(found.genotypes) == 8 and found.names == ("error", "macs")


@pytest.mark.slow
def test_elasticvit_itself_fits_together(evonas_command: Callable, tmp_path: Path) -> None:
    root = scenes.imagenet(tmp_path / "imagenet")
    words = ("+experiment=elasticvit_imagenet", f"data.root={root}", "data.num_classes=3", "run=vit")
    ended = evonas_command(*words, "limits=debug", "hardware.engine=inline")
    assert ended.code == 0, ended.err
    [net] = json.loads((tmp_path / "outputs/vit/selected.json").read_text())["nets"]
    assert net["name"] == "best_error" and net["genotype"].startswith("elasticvit:r=")
    loaded = evonas.load("run:vit#best_error", "outputs")
    assert sum(each.numel() for each in loaded.parameters()) > 5_000_000


@pytest.mark.slow
def test_once_for_all_shrinks_by_its_recipe(evonas_command: Callable, tmp_path: Path) -> None:
    root = scenes.imagenet(tmp_path / "imagenet")
    words = ("+experiment=ofa_mbv3_imagenet", f"data.root={root}", "data.num_classes=3", "run=ofa")
    small = ("network.width=0.25", "head.dropout=0.0", "limits.max_batches=1", "train.panel_random=0")
    for stage in (["pretrain", "stage.train=false"], ["supernet"]):
        ended = evonas_command(*words, *small, "limits=debug", f"stage={stage[0]}", *stage[1:])
        assert ended.code == 0, ended.err
    steps = json.loads((tmp_path / "outputs/ofa/supernet/panel.json").read_text())["steps"]
    assert [step["name"] for step in steps] == ["whole", "kernel", "depth1", "depth2", "expand1", "expand2"]
