"""From data on disk to chosen networks by one command, on trees of true layout and with tiny networks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trees import coco, scenes

TINY = [
    "space=nano", "network=nano", "head=light", "sampler=uniform", "sampler.steps.0.num_subnets=2",
    "space.depths=[1,1,2,1]", "network.dims=[8,8,16,16]", "network.heads=[2,2,2,2]", "network.stem_dim=8",
    "sampler.steps.0.epochs=1", "objective=[error,macs]", "hardware.engine=inline", "tracker=none",
    "hardware.eval_batch_size=2", "budget.population=2", "budget.evaluations=4", "search=random",
    "limits.max_batches=2", "train.panel_random=1", "train.panel_every=0", "train.supernet.batch_size=2",
    "select.rules=[knee]", "select.include_max=false", "run=try",
]  # fmt: skip
STAGES = ["~stage.steps.retrain", "~stage.steps.evaluate", "~stage.steps.export", "~stage.steps.report"]
DATA = {
    "ade20k": ["data.height=32", "data.width=64", "data.crop=[32,32]", "data.augment.scale=[96,32]"],
    "cityscapes": ["data.height=32", "data.width=64", "data.crop=[32,32]", "data.augment.scale=[96,48]",
                   "data.truth_scale=2", "data.validation=0.4"],
    "imagenet": ["head=classifier", "data.num_classes=3", "data.validation=0.3", "data.views.size=32",
                 "data.views.resize=40"],
}  # fmt: skip
EXTRA = {
    "ade20k": ["distill=none", "task.input_size=null", "task.error=loss"],
    "cityscapes": ["distill=none"],
    "imagenet": [],
}
ERRORS = {"ade20k": "loss", "cityscapes": "one_minus_miou", "imagenet": "error"}
Command = Callable[..., Any]


def pipeline(name: str, command: Command, folder: Path, *extra: str) -> None:
    """Run the task's pipeline up to the choice, and look at what it left."""
    root = scenes.WRITERS[name](folder / "data")
    ended = command(f"+task={name}", f"data.root={root}", *TINY, *DATA[name], *extra, *STAGES)
    assert ended.code == 0, ended.err
    run = folder / "outputs" / "try"
    chosen = json.loads((run / "selected.json").read_text())
    assert chosen["error_name"] == ERRORS[name] and chosen["nets"]
    panel = json.loads((run / "supernet" / "panel.json").read_text())
    assert panel["steps"][-1]["panel"]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", scenes.WRITERS)
def test_a_tree_becomes_chosen_networks(name: str, evonas_command: Command, tmp_path: Path) -> None:
    pipeline(name, evonas_command, tmp_path, *EXTRA[name])


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_ade20k_is_taught_by_its_own_teacher(evonas_command: Command, tmp_path: Path) -> None:
    """With random weights; the schedule is the published one."""
    pytest.importorskip("transformers")
    taught = [
        "teacher.size=tiny",
        "distill=caddkd",
        "distill.level=-1",
        "task.input_size=null",
        "task.error=loss",
    ]
    pipeline("ade20k", evonas_command, tmp_path, *taught)
    result = json.loads((tmp_path / "outputs" / "try" / "teacher" / "result.json").read_text())
    assert result["origin"]["random"] is True


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_coco_is_taught_by_a_detector_on_dinov2(evonas_command: Command, tmp_path: Path) -> None:
    """With a random body of a few layers, and a detector that is trained on it."""
    pytest.importorskip("transformers")
    root = coco.write(tmp_path / "data", train=8, test=4, height=64, width=96)
    taught = [
        "head=faster_rcnn",
        "head/neck=fpn",
        "head.neck.out_channels=16",
        "data.masks=false",
        "head.hidden=16",
    ]
    small = [
        "data.height=64",
        "data.width=96",
        "data.num_classes=null",
        "data.validation=0.3",
        "teacher.size=tiny",
    ]
    short = [
        "distill=caddkd",
        "train.supernet.schedule=cosine",
        "distill.level=-1",
        "train.teacher.batch_size=2",
        "train.teacher.epochs=1",
    ]
    tiny = [each for each in TINY if each != "head=light"]
    ended = evonas_command("+task=coco", f"data.root={root}", *tiny, *taught, *small, *short, *STAGES)
    assert ended.code == 0, ended.err
    run = tmp_path / "outputs" / "try"
    result = json.loads((run / "teacher" / "result.json").read_text())
    assert result["origin"]["random"] is True and (run / "teacher" / "teacher.safetensors").exists()
    assert json.loads((run / "selected.json").read_text())["nets"]
