"""A run's data is recorded when it is first read, and other data is refused."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf
from trees import coco

from evonas import files
from evonas.data.detection.coco import Coco
from evonas.errors import DataError
from evonas.run import Run
from evonas.stages.build.data_record import DataRecord


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return coco.write(tmp_path / "here", train=4, test=2)


def record(root: Path, folder: Path, task: Any = None) -> DataRecord:
    task = task or Coco(str(root), 64, 96, validation=0.25)
    cfg = OmegaConf.create({"data": {"root": str(root)}})
    return DataRecord(SimpleNamespace(cfg=cfg, task=task), Run(folder / "r", "coco"))  # type: ignore[arg-type]


def test_data_may_move_but_not_change(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    record(tree, tmp_path).check("train", "holdout")
    assert set(files.read_json(tmp_path / "r/data.json")) == {"train", "holdout"}
    record(tree, tmp_path).check("train", "holdout")
    moved = tmp_path / "there"
    shutil.copytree(tree, moved)
    record(moved, tmp_path).check("train", "holdout", "test")
    picture = moved / "train2017/000000000000.jpg"
    picture.write_bytes(picture.read_bytes() + bytes(1))
    changed = "train" if 0 in Coco(str(moved), 64, 96, validation=0.25).dataset("train").places else "holdout"
    named = {"train": "training", "holdout": "validation"}[changed]
    with pytest.raises(DataError, match=f"read its {named} split from {tree}, and {moved} has") as caught:
        record(moved, tmp_path).check("train", "holdout")
    assert f"data.root={tree}" in str(caught.value.hint)
    shutil.rmtree(tree)
    moved.rename(tree)
    with pytest.raises(DataError, match=f"{named} split in {tree} has changed since run 'r' first read it"):
        record(tree, tmp_path).check("train", "holdout")


def test_a_split_is_looked_at_once(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    asked = []

    class Counting(Coco):
        def dataset(self, split: Any) -> Any:
            asked.append(split)
            return super().dataset(split)

    found = record(tree, tmp_path, Counting(str(tree), 64, 96, validation=0.25))
    found.check("train", "holdout")
    found.check("holdout", "test")
    assert asked == ["train", "holdout", "test"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"train": 3}', '{"train": {"manifest": "x"}}'])
def test_a_damaged_record_is_named(tree: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r/data.json").write_text(text)
    with pytest.raises(DataError, match=r"data\.json is damaged"):
        record(tree, tmp_path).check("train")
