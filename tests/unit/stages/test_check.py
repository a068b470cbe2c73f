"""The check of a data set: what it counts, what it finds in damaged copies, and the page that it writes."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import exif
from labelled_trees import write_folders
from PIL import Image
from trees import coco

from evonas.stages.checking.findings import Finding, listed

HEIGHT, WIDTH = 48, 64
Command = Callable[..., Any]


def scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """An image of random blocks that is like no other, and its mask of two classes."""
    random = np.random.default_rng(number)
    pixels = np.kron(random.integers(0, 255, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, : 16 + 8 * (number % 4)] = 1
    return pixels, mask


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for split, start, count in (("train", 0, 20), ("test", 100, 6)):
        for number in range(start, start + count):
            pixels, mask = scene(number)
            for kind, array in (("images", pixels), ("masks", mask)):
                path = root / kind / split / f"{number:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
    return root


def look(command: Command, root: Path, *words: str) -> tuple[Any, dict[str, Any]]:
    ended = command(
        "check",
        "+task=masks",
        f"data.root={root}",
        "data.classes=[ground,road]",
        "data.validation=0.3",
        "stage.json=true",
        *words,
    )
    return ended, json.loads(ended.out[ended.out.index("{") :].strip())


def problems(told: dict[str, Any]) -> list[str]:
    return [each["text"] for each in told["findings"] if each["state"] == "problem"]


def warnings(told: dict[str, Any]) -> list[str]:
    return [each["text"] for each in told["findings"] if each["state"] == "warning"]


def test_sound_data_are_counted_and_shown_on_one_page(
    tree: Path, evonas_command: Command, tmp_path: Path
) -> None:
    ended, told = look(evonas_command, tree)
    assert ended.code == 0 and told["findings"] == [], ended.err
    splits = told["splits"]
    assert [splits[split]["images"] for split in ("train", "holdout", "test")] == [14, 6, 6]
    assert splits["test"]["sizes"] == {"48x64": 6} and splits["test"]["files"] == {"PNG RGB": 6}
    assert splits["test"]["truth_files"] == {"PNG L": 6} and splits["test"]["orientations"] == {"1": 6}
    masks = [scene(number)[1] for number in range(100, 106)]
    assert splits["test"]["classes"] == {
        "ground": {"count": int(sum((mask == 0).sum() for mask in masks)), "images": 6},
        "road": {"count": int(sum((mask == 1).sum() for mask in masks)), "images": 6},
    }
    page = tmp_path / told["page"]
    assert list((tmp_path / "outputs").iterdir()) == [tmp_path / "outputs/check"], "no run is opened"
    html = page.read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert len(sources) == 24 and all(each.startswith("data:image/jpeg;base64,") for each in sources)
    assert "<script" not in html
    assert "nothing would stop a training" in html and "images/train/000.png" in html


def test_without_json_a_table_and_the_page_are_printed(tree: Path, evonas_command: Command) -> None:
    ended = evonas_command(
        "check",
        "+task=masks",
        f"data.root={tree}",
        "data.classes=[ground,road]",
        "stage.page=a.html",
        "stage.shown=0",
    )
    assert ended.code == 0
    assert re.search(r"train +\| +18 \| +18 \| +0 \| +48x64 \| PNG RGB \| +2 of 2", ended.out), ended.out
    assert ended.out.splitlines()[-1] == "0 warnings. Images, histograms and findings: a.html"
    assert "data:image" not in Path("a.html").read_text()


def test_what_several_splits_say_of_one_file_is_said_once(evonas_command: Command, tmp_path: Path) -> None:
    root = coco.write(tmp_path / "data")
    path = root / "annotations/instances_train2017.json"
    document = json.loads(path.read_text())
    document["images"][1]["id"] = document["images"][0]["id"]
    path.write_text(json.dumps(document))
    parts = ("data.train=train2017", "data.test=val2017")
    ended = evonas_command("check", "+task=cells", f"data.root={root}", *parts, "stage.json=true")
    told = json.loads(ended.out[ended.out.index("{") :].strip())
    assert ended.code == 3 and "1 finding would stop a training of cells" in ended.err
    [finding] = told["findings"]
    assert finding["where"] == "train, holdout, test" and "two images with the id" in finding["text"]


def test_folders_of_another_layout_are_told_with_what_to_type(
    evonas_command: Command, tmp_path: Path
) -> None:
    ended = evonas_command("check", "+task=cells", f"data.root={tmp_path}")
    assert (
        ended.code == 3 and "<root>/annotations/instances_train.json   <root>/train/<name>.jpg" in ended.err
    )
    for folder in ("Annotations", "ImageSets", "JPEGImages"):
        (tmp_path / "cells" / folder).mkdir(parents=True)
    ended = evonas_command("check", "+task=cells", f"data.root={tmp_path / 'cells'}")
    assert "has the folders of Pascal VOC" in ended.err
    assert f"python -m evonas convert stage.voc={tmp_path / 'cells'} stage.coco=cells_coco" in ended.err


def test_an_image_under_two_names_of_one_split_is_told(tree: Path, evonas_command: Command) -> None:
    for kind in ("images", "masks"):
        (tree / kind / "test/200.png").symlink_to(tree / kind / "test/101.png")
    ended, told = look(evonas_command, tree)
    assert ended.code == 0
    text = "1 of 7 images are other names of one file: images/test/200.png and images/test/101.png."
    assert warnings(told) == [text] and told["findings"][0]["where"] == "test"


def test_dark_images_of_16_bits_are_told(tree: Path, evonas_command: Command) -> None:
    for path in (tree / "images/test").iterdir():
        Image.fromarray(np.asarray(Image.open(path))[..., 0].astype(np.uint16) * 4).save(path)
    ended, told = look(evonas_command, tree)
    assert ended.code == 0
    assert any(
        "6 test images of 16 bits" in each and "use 10 of them at most" in each for each in warnings(told)
    )


def test_unknown_class_ids_are_all_named_with_their_pixels(tree: Path, evonas_command: Command) -> None:
    for name, value in (("000", 7), ("001", 9), ("100", 9)):
        path = tree / "masks" / ("test" if name == "100" else "train") / f"{name}.png"
        mask = np.array(Image.open(path))
        mask[:2, :5] = value
        Image.fromarray(mask).save(path)
    ended, told = look(evonas_command, tree)
    assert ended.code == 3 and "would stop a training of masks" in ended.err
    text = " ".join(problems(told))
    assert "7 (10 pixels in 1 mask)" in text and "9 (10 pixels in 1 mask)" in text and "test/100.png" in text
    assert {key: value for split in told["splits"].values() for key, value in split["unknown"].items()} == {
        "7": 10,
        "9": 10,
    }
    assert "data.unknown=ignore" in told["findings"][0]["fix"]
    _, ignored = look(evonas_command, tree, "data.unknown=ignore")
    assert problems(ignored) == []


def test_unknown_colours_are_all_named(tree: Path, evonas_command: Command) -> None:
    for path in (tree / "masks").rglob("*.png"):
        grey = np.array(Image.open(path))
        Image.fromarray(np.array([[0, 0, 0], [0, 0, 200]], np.uint8)[grey]).save(path)
    painted = tree / "masks/test/101.png"
    colours = np.array(Image.open(painted))
    colours[0, :7] = (0, 0, 199)
    Image.fromarray(colours).save(painted)
    ended, told = look(evonas_command, tree, "data.palette=[[0,0,0],[0,0,200]]")
    assert ended.code == 3
    [text] = problems(told)
    assert text.startswith("1 of 6 masks contains 1 unknown colour: 0 0 199 (7 pixels in 1 mask)."), text


def test_files_that_cannot_be_used_are_all_named_at_once(tree: Path, evonas_command: Command) -> None:
    cut = tree / "images/train/003.png"
    cut.write_bytes(cut.read_bytes()[:200])
    Image.fromarray(scene(4)[0][:40]).save(tree / "images/train/004.png")
    Image.fromarray(scene(101)[1]).save(tree / "masks/test/101.png", "JPEG")
    ended, told = look(evonas_command, tree)
    assert ended.code == 3
    text = "\n".join(problems(told))
    assert "003.png is damaged" in text and "004.png is 40x64" in text and "101.png is a JPEG" in text
    assert sum(split["unusable"] for split in told["splits"].values()) == 3
    html = Path(told["page"]).read_text()
    assert "3 findings would stop a training" in html and "003.png" in html


def test_a_class_that_never_occurs_and_empty_masks_are_found(tree: Path, evonas_command: Command) -> None:
    for path in (tree / "masks/test").iterdir():
        Image.fromarray(np.full((HEIGHT, WIDTH), 255, np.uint8)).save(path)
    ended, told = look(evonas_command, tree, "data.classes=[ground,road,tree]")
    assert ended.code == 0
    text = " ".join(warnings(told))
    assert "1 of 3 classes has no pixel in the 14 training images: tree." in text
    assert "3 of 3 classes have no pixel in the 6 test images" in text
    assert "6 of 6 are masks in which every pixel is ignored" in text
    for path in (tree / "masks/train").iterdir():
        Image.fromarray(np.where(np.array(Image.open(path)) == 1, 255, 0).astype(np.uint8)).save(path)
    ended, told = look(evonas_command, tree)
    assert ended.code == 3 and "There is nothing to learn." in problems(told)[0]
    assert "data.palette" in told["findings"][0]["fix"], "255 was meant as a class"


def test_copies_across_splits_are_found_though_they_were_cropped_and_compressed(
    tree: Path, evonas_command: Command
) -> None:
    for number in (0, 1):
        image = Image.fromarray(scene(number)[0])
        copy = image.crop((1, 1, WIDTH - 1, HEIGHT - 1)).resize((WIDTH, HEIGHT))
        copy.save(tree / "images/test" / f"copy{number}.jpg", quality=80)
        shutil.copy(tree / f"masks/train/{number:03d}.png", tree / f"masks/test/copy{number}.png")
    ended, told = look(evonas_command, tree)
    assert ended.code == 0
    near = [text for text in warnings(told) if "nearly equal" in text]
    assert sum(int(text.partition(" ")[0]) for text in near) == 2
    assert "images/test/copy0.jpg and images/train/000.png" in " ".join(near)
    assert "Nearly equal: " in Path(told["page"]).read_text()


def test_neighbouring_frames_leak_until_their_videos_are_named(
    tmp_path: Path, evonas_command: Command
) -> None:
    root = tmp_path / "video"
    for clip in range(10):
        for number in range(4):
            pixels, mask = scene(clip)
            pixels = np.clip(
                pixels.astype(int) + np.random.default_rng(number).integers(-3, 4, pixels.shape), 0, 255
            )
            for kind, array in (("images", pixels.astype(np.uint8)), ("masks", mask)):
                for split in ("train", "test"):
                    if (split == "test") == (clip > 7):
                        path = root / kind / split / f"clip{clip}_{number}.png"
                        path.parent.mkdir(parents=True, exist_ok=True)
                        Image.fromarray(array).save(path)
    _, told = look(evonas_command, root)
    [text] = warnings(told)
    assert "validation images are nearly equal to training images" in text
    assert "data.validation_groups" in told["findings"][0]["fix"]
    _, told = look(evonas_command, root, 'data.validation_groups="(clip.)_"')
    assert told["findings"] == []
    assert told["splits"]["holdout"]["images"] == 8


def test_splits_that_share_files_are_a_problem_and_still_looked_at(
    tree: Path, evonas_command: Command
) -> None:
    (tree / "lists").mkdir()
    for split, numbers in (("train", range(20)), ("test", range(2))):
        lines = [f"images/train/{number:03d}.png masks/train/{number:03d}.png" for number in numbers]
        (tree / "lists" / f"{split}.txt").write_text("\n".join(lines))
    ended, told = look(evonas_command, tree, f"data.lists={tree / 'lists'}")
    assert ended.code == 3 and "share" in problems(told)[0]
    assert told["splits"]["test"]["looked_at"] == 2


def test_turned_photographs_and_skipped_files_are_said(tree: Path, evonas_command: Command) -> None:
    path = tree / "images/test/100.png"
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif(6))
    (tree / "images/test/notes.txt").write_text("x")
    ended, told = look(evonas_command, tree)
    assert ended.code == 0 and "Skipped" not in ended.err
    assert told["splits"]["test"]["orientations"] == {"1": 5, "6": 1}
    [text] = warnings(told)
    assert text.startswith("Skipped: 1 .txt file in ") and problems(told) == []


def test_a_missing_folder_ends_with_what_to_type(tmp_path: Path, evonas_command: Command) -> None:
    ended, told = look(evonas_command, tmp_path / "absent")
    assert ended.code == 3 and told["splits"] == {}
    assert len(problems(told)) == 2 and all("does not exist" in each for each in problems(told))
    assert "images/train" in ended.err and "Traceback" not in ended.err


def test_boxes_outside_their_images_and_images_without_boxes_are_found(
    tmp_path: Path, evonas_command: Command
) -> None:
    root = coco.write(tmp_path / "data", train=12)
    path = root / "annotations/instances_train2017.json"
    document = json.loads(path.read_text())
    document["annotations"][0]["bbox"][0] = 90
    document["annotations"][1]["bbox"][0] = 400
    path.write_text(json.dumps(document))
    ended = evonas_command(
        "check",
        "+task=cells",
        f"data.root={root}",
        "data.train=train2017",
        "data.test=val2017",
        "stage.json=true",
    )
    told = json.loads(ended.out[ended.out.index("{") :].strip())
    text = " ".join(warnings(told))
    assert ended.code == 0, ended.err
    assert "Clipped: 2 of 22 boxes in instances_train2017.json" in text
    assert "Skipped: 1 of 22 boxes" in text and "images without an object" in text
    assert told["splits"]["test"]["unit"] == "object"
    assert sum(each["count"] for each in told["splits"]["test"]["classes"].values()) == 8
    assert "square" in Path(told["page"]).read_text()


def test_depth_folders_show_a_histogram_and_a_wrong_scale(tmp_path: Path, evonas_command: Command) -> None:
    root = tmp_path / "data"
    for split, count in (("train", 6), ("test", 2)):
        for number in range(count):
            for kind, array in (
                ("images", scene(number + 50 * (split == "test"))[0]),
                ("depth", np.full((HEIGHT, WIDTH), 3000, np.uint16)),
            ):
                path = root / kind / split / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
    words = ("check", "+task=depth_folders", f"data.root={root}", "data.validation=0.4")
    ended = evonas_command(*words)
    assert ended.code == 0, ended.err
    page = Path(ended.out.splitlines()[-1].rpartition(": ")[2]).read_text()
    assert "Histogram of depth in train" in page and "median 3 m" in page
    ended = evonas_command(*words, "data.scale=1")
    assert ended.code == 3 and "their median is 3000 m" in ended.err and "data.scale" in ended.err


def test_class_folders_and_generated_data_are_looked_at(tmp_path: Path, evonas_command: Command) -> None:
    write_folders(tmp_path / "data")
    ended = evonas_command(
        "check",
        "+task=image_classification",
        "data=class_folders",
        f"data.root={tmp_path / 'data/train'}",
        "data.num_classes=3",
        "stage.json=true",
    )
    told = json.loads(ended.out[ended.out.index("{") :].strip())
    assert ended.code == 0, ended.err
    counts = [sum(each["count"] for each in split["classes"].values()) for split in told["splits"].values()]
    assert sum(counts) == 15 and told["splits"]["train"]["files"]["PNG RGB"] == counts[0]
    small = ("data.train=3", "data.validation=2", "data.test=2", "data.height=32", "data.width=64")
    ended = evonas_command("check", "+task=synthetic", *small)
    assert ended.code == 0 and "32x64" in ended.out, ended.err


def test_tasks_without_images_and_wrong_settings_are_refused(evonas_command: Command) -> None:
    for words, message in (
        (("+task=synthetic", "stage.images=0"), "stage.images must be at least 1, got 0."),
        (("+task=synthetic", "stage.shown=-1"), "stage.shown must not be negative, got -1."),
        ((), "No task chosen."),
        (("+task=nb201",), "nb201"),
    ):
        ended = evonas_command("check", *words)
        assert ended.code == 2 and message in ended.err, ended.err


def test_names_are_listed_with_the_number_of_others() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(each) for each in range(8)]) == "0, 1, 2, 3, 4 and 3 more"
    assert Finding("problem", "train", "x").fix == ""
