"""Experiments of other papers, in debug on trees of the true layout."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
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
    for stage in ("pretrain", "supernet", "search"):
        ended = evonas_command(*words, *views, "hardware.engine=inline", "run=one", f"stage={stage}")
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
