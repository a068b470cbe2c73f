"""SasWOT's and FasterSeg's experiments from data on disk to trained networks, on trees of the true layout."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from trees import scenes

from evonas.supernets import base
from evonas.supernets.fasterseg.family import FasterSeg
from evonas.supernets.fasterseg.published import PUBLISHED
from evonas.supernets.fasterseg.space import fasterseg_space, genotype_of

pytestmark = pytest.mark.usefixtures("one_thread")
SHORT = (
    "limits=debug", "budget.population=2", "budget.evaluations=4", "hardware.engine=inline", "run=try", "tracker=none",
    "train.retrain.batch_size=2", "limits.max_batches=1", "hardware.eval_batch_size=1", "~stage.steps.export",
    "data.height=64", "data.width=128", "train.bn_calibration_images=2", "network.base=2",
)  # fmt: skip
SCORE = (
    "objective.zero_cost.references=2",
    "objective.zero_cost.batch_size=2",
    "objective.zero_cost.size=[64,64]",
)
CITYSCAPES = (
    "data.crop=[64,128]",
    "data.augment.scale=[128,64]",
    "data.truth_scale=2",
    "data.validation=0.4",
)
Command = Callable[..., Any]


def _camvid(root: Path) -> Path:
    for folder in ("train", "val", "test"):
        (root / folder).mkdir(parents=True)
        (root / f"{folder}annot").mkdir()
        for number in range(3):
            random = np.random.default_rng(number)
            mask = np.repeat(np.repeat(random.integers(0, 12, (4, 8)), 12, 0), 12, 1).astype(np.uint8)
            image = np.stack([mask * 20, mask * 0 + 100, mask * 0 + number], -1).astype(np.uint8)
            Image.fromarray(image).save(root / folder / f"{number}.png")
            Image.fromarray(mask).save(root / f"{folder}annot/{number}.png")
    return root


def _taught() -> tuple[str, ...]:
    """FasterSeg's teacher, made narrow."""
    space = fasterseg_space()
    text = space.format(genotype_of(space, PUBLISHED["fasterseg_teacher"].architecture))
    short = "train.teacher.batch_size=2", "teacher.network.base=1"
    return "teacher=fasterseg_teacher", f'teacher.genotype="{text}"', *short


def _searched(name: str, command: Command, tmp_path: Path, *words: str) -> Path:
    """The folder of a run of SasWOT's experiment, in which the teacher was trained and tested."""
    root = _camvid(tmp_path / "data") if name == "camvid" else scenes.WRITERS[name](tmp_path / "data")
    more = CITYSCAPES if name == "cityscapes" else ()
    ended = command(f"+experiment=saswot_{name}", f"data.root={root}", *SHORT, *SCORE, *more, *words)
    assert ended.code == 0, ended.err
    run = tmp_path / "outputs/try"
    assert json.loads((run / "teacher/result.json").read_text())["steps"] == 1
    assert json.loads((run / "evaluate/test.json").read_text())["teacher"]["miou"] >= 0
    return run


@pytest.mark.parametrize("name", ["camvid", pytest.param("cityscapes", marks=pytest.mark.slow)])
def test_networks_are_searched_by_scores_and_trained(
    name: str, evonas_command: Command, tmp_path: Path
) -> None:
    run = _searched(name, evonas_command, tmp_path, *_taught())
    nets = json.loads((run / "selected.json").read_text())["nets"]
    assert nets and all(net["genotype"].startswith("fasterseg_saswot:") for net in nets)
    assert all({"zero_cost", "macs"} <= net["objectives"].keys() for net in nets)
    tested = json.loads((run / "evaluate/test.json").read_text())["nets"]
    assert {net["name"] for net in nets} <= {net["name"] for net in tested}
    # the whole network is counted, as inference uses it
    assert all(round(1e9 * net["objectives"]["macs"]) in {each["macs"] for each in tested} for net in nets)


def test_matrices_are_evolved_by_the_score_alone(evonas_command: Command, tmp_path: Path) -> None:
    root = _camvid(tmp_path / "data")
    short = [each for each in SHORT if each != "~stage.steps.export"]
    steps = [f"~stage.steps.{each}" for each in ("retrain", "baselines", "evaluate", "export", "report")]
    words = f"data.root={root}", "search=saswot_matrices", "distill=none"
    ended = evonas_command("+experiment=saswot_camvid", *words, *short, *SCORE, *steps)
    assert ended.code == 0, ended.err
    nets = json.loads((tmp_path / "outputs/try/selected.json").read_text())["nets"]
    assert nets and all(net["genotype"].startswith("fasterseg_saswot:") for net in nets)


def test_a_deeplab_teaches_them(evonas_command: Command, tmp_path: Path) -> None:
    pytest.importorskip("segmentation_models_pytorch")
    run = _searched("camvid", evonas_command, tmp_path, "train.teacher.batch_size=2")
    assert json.loads((run / "teacher/result.json").read_text())["params"] > 11_000_000
    assert json.loads((run / "selected.json").read_text())["nets"]


@pytest.mark.slow
def test_the_published_student_is_trained_by_its_recipe(evonas_command: Command, tmp_path: Path) -> None:
    root = scenes.WRITERS["cityscapes"](tmp_path / "data")
    ended = evonas_command(
        "+experiment=fasterseg_cityscapes", f"data.root={root}", *SHORT, *CITYSCAPES, *_taught()
    )
    assert ended.code == 0, ended.err
    tested = json.loads((tmp_path / "outputs/try/evaluate/test.json").read_text())["nets"]
    net = next(each for each in tested if each["name"] == "fasterseg")
    space = fasterseg_space()
    family = FasterSeg(space, base=2)
    of = genotype_of(space, PUBLISHED["fasterseg"].architecture)
    cost = base.cost(family, of, (64, 128)) + base.classifier_cost(family, of, (64, 128), 19)
    assert net["macs"] == cost.macs
