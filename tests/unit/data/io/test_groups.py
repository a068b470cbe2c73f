"""Groups of images: named by folder or pattern, and cut as a whole, in every kind of data."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from trees import coco

from evonas.data.classification.augment import Views
from evonas.data.classification.imagefolder import ImageFolder
from evonas.data.detection.coco import Coco
from evonas.data.io.groups import Grouping, held_groups
from evonas.data.segmentation.mask_folders import MaskFolders
from evonas.errors import DataError, UserError


@pytest.mark.parametrize(
    ("by", "path", "group"),
    [
        (1, "images/train/clip7/0012.png", "images/train/clip7"),
        (2, "images/train/clip7/left/0012.png", "images/train/clip7"),
        (3, "0012.png", ""),
        ("clip[0-9]+", "images/train/clip7/0012.png", "clip7"),
        ("([a-z]+)_(?:left|right)_([0-9]+)", "a/park_left_12_3.png", "park/12"),
        ("(a)|(b)", "b.png", "/b"),
    ],
)
def test_a_rule_names_groups_by_folder_or_pattern(by: str | int, path: str, group: str) -> None:
    assert Grouping(by).group(path) == group


def test_rules_that_name_no_group_are_refused() -> None:
    for by in (0, -1, True, "["):
        with pytest.raises(UserError, match=r"data\.validation_groups"):
            Grouping(by)
    with pytest.raises(DataError, match=r"b\.png does not match data\.validation_groups=clip"):
        Grouping("clip").group("b.png")


def test_groups_are_held_out_whole_and_of_every_class() -> None:
    random = np.random.default_rng(0)
    groups = [f"clip{number}" for number in random.integers(0, 60, 900)]
    classes = [int(name[4:]) % 3 for name in groups]
    held = held_groups(groups, 0.2, 0, classes)
    assert {name for name, is_held in zip(groups, held, strict=True) if is_held}.isdisjoint(
        name for name, is_held in zip(groups, held, strict=True) if not is_held
    )
    share = {label: held[np.array(classes) == label].mean() for label in range(3)}
    assert all(0.1 < each <= 0.2 for each in share.values()), share
    assert not np.array_equal(held, held_groups(groups, 0.2, 1, classes))
    assert np.array_equal(held, held_groups(groups, 0.2, 0, classes))


def test_no_class_loses_its_only_group() -> None:
    groups = ["a", "a", "b", "b", "c", "d"]
    held = held_groups(groups, 0.1, 0, [0, 0, 0, 0, 1, 0])
    assert not held[4] and held.sum() == 1, "the smallest group of class 0 alone"


def masks(root: Path, **options: Any) -> MaskFolders:
    return MaskFolders(str(root), ["a", "b"], height=32, width=32, validation=0.3, **options)


def write_masks(root: Path, names: list[str]) -> None:
    for split in ("train", "test"):
        for name in names:
            for kind in ("images", "masks"):
                path = root / kind / split / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB" if kind == "images" else "L", (32, 32)).save(path)


def test_masks_in_folders_and_by_pattern_are_cut_between_videos(tmp_path: Path) -> None:
    names = [f"clip{clip}/{number:03d}" for clip in range(4) for number in range(5)]
    write_masks(tmp_path / "nested", names)
    write_masks(tmp_path / "flat", [name.replace("/", "_") for name in names])
    for data in (
        masks(tmp_path / "nested", validation_groups=1),
        masks(tmp_path / "flat", validation_groups="(clip.)_"),
    ):
        clips = {
            split: {str(frame.image)[str(frame.image).index("clip") :][:5] for frame in data.frames(split)}
            for split in ("train", "holdout", "test")
        }
        assert len(clips["train"]) == 3 and len(clips["holdout"]) == 1 and len(clips["test"]) == 4
        assert clips["train"].isdisjoint(clips["holdout"])
        assert len(data.frames("train")) == 15
    # without groups the same images are cut one by one, and clips lie in both splits
    flat = masks(tmp_path / "flat")
    assert {frame.image.name[:5] for frame in flat.frames("holdout")} & {
        frame.image.name[:5] for frame in flat.frames("train")
    }


def test_one_group_alone_is_refused_with_the_rule(tmp_path: Path) -> None:
    write_masks(tmp_path, ["clip0_1", "clip0_2"])
    with pytest.raises(DataError, match=r"groups .*; all are of clip0 by data\.validation_groups="):
        masks(tmp_path, validation_groups="(clip0)").frames("train")


def test_boxes_are_cut_between_videos(tmp_path: Path) -> None:
    root = coco.write(tmp_path, train=9)
    document = root / "annotations" / "instances_train2017.json"
    content = json.loads(document.read_text())
    for place, entry in enumerate(content["images"]):
        name = f"clip{place // 3}/{entry['file_name']}"
        (root / "train2017" / name).parent.mkdir(exist_ok=True)
        shutil.move(root / "train2017" / entry["file_name"], root / "train2017" / name)
        entry["file_name"] = name
    document.write_text(json.dumps(content))
    data = Coco(str(root), height=64, width=96, validation=0.35, validation_groups=1)
    clips = {
        split: Counter(data.instances(0).images[place].file[:5] for place in data.places(split))
        for split in ("train", "holdout")
    }
    assert clips["train"].keys().isdisjoint(clips["holdout"]) and list(clips["holdout"].values()) == [3]


def test_class_folders_are_cut_between_videos_for_validation_and_test(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        for clip in range(5):
            for number in range(4):
                path = tmp_path / kind / f"clip{clip}" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8)).save(path)
    data = ImageFolder(
        str(tmp_path), 2, Views(size=32, resize=36), ".", None, validation=0.25, validation_groups=1
    )
    found: dict[str, set[str]] = {}
    for split in ("train", "holdout", "test"):
        shelf = data.shelf("test" if split == "test" else "train")
        found[split] = {shelf.name(place).rpartition("/")[0] for place in data.places(split).tolist()}
    assert {name.partition("/")[0] for name in found["holdout"]} == {"cat", "dog"}
    assert [len(found[split]) for split in ("train", "holdout", "test")] == [6, 2, 2]
    assert found["train"].isdisjoint(found["holdout"]) and found["test"].isdisjoint(
        found["train"] | found["holdout"]
    )
