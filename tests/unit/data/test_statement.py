"""Before anything is trained, data say which files are missing and which classes never occur."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_run
from image_files import encoded, png
from labelled_trees import write_folders, write_tars
from omegaconf import OmegaConf
from PIL import Image
from trees import coco, kitti, nyu, scenes

from evonas.data.base import SPLITS
from evonas.data.classification.augment import Views
from evonas.data.classification.imagefolder import ImageFolder
from evonas.data.classification.shards import Shards
from evonas.data.depth.kitti import Kitti
from evonas.data.depth.nyu import Nyu
from evonas.data.detection.coco import Coco
from evonas.data.io.split_lists import MissingFilesError
from evonas.data.segmentation import base
from evonas.data.segmentation.ade20k import Ade20k
from evonas.data.segmentation.mask_folders import MaskFolders
from evonas.data.statement import CountsClasses, check_splits
from evonas.data.synthetic.scenes import SyntheticScenes
from evonas.errors import DataError
from evonas.stages.build.setup import Setup
from evonas.stages.training.setup import TrainingSetup

VIEWS = Views(size=32, resize=36)


def masks(root: Path, values: list[int], classes: list[str], kinds: int = 1, **options: Any) -> MaskFolders:
    """Six training and two test masks of vertical stripes; every `kinds`-th training mask has all the values."""
    for split, count in (("train", 6), ("test", 2)):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            shown = values if number % kinds == 0 else values[:1]
            row = np.array(shown, np.uint8)[np.arange(48) * len(shown) // 48]
            Image.fromarray(np.repeat(row[None], 32, 0)).save(root / "masks" / split / f"{number}.png")
            Image.new("RGB", (48, 32)).save(root / "images" / split / f"{number}.png")
    return MaskFolders(str(root), classes, height=32, width=64, validation=0.4, **options)


def test_a_source_in_which_every_class_occurs_says_nothing(tmp_path: Path) -> None:
    assert check_splits(masks(tmp_path, [0, 1, 255], ["a", "b"]).dataset, needs_test=True) == []
    assert check_splits(SyntheticScenes(train=2, validation=1, test=1).dataset, needs_test=True) == []


def test_pixels_are_counted_until_every_class_was_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = masks(tmp_path, [0, 1], ["a", "b"]).dataset("train").class_counts()
    assert (counts.names, counts.counts, counts.read, counts.total) == (("a", "b"), (768, 768), 1, 4)
    counts = masks(tmp_path, [0, 1], ["a", "b", "c"]).dataset("train").class_counts()
    assert (counts.counts, counts.read, counts.absent) == ((3072, 3072, 0), 4, ("c",))
    monkeypatch.setattr(base, "COUNTED", 3)
    counts = masks(tmp_path, [0, 1], ["a", "b", "c"]).dataset("train").class_counts()
    assert counts.sentence("train") == "1 of 3 classes has no pixel in the 3 of 4 training images: c."
    # what a sample does not show may be in the rest
    assert check_splits(masks(tmp_path, [0], ["a", "b"]).dataset, needs_test=False)


def test_masks_of_0_and_255_are_refused_with_a_palette_that_helps(tmp_path: Path) -> None:
    source = masks(tmp_path, [0, 255], ["background", "leaf"])
    with pytest.raises(DataError, match=r"1 of 2 classes has no pixel .*: leaf\. There is nothing") as caught:
        check_splits(source.dataset, needs_test=False)
    assert "'data.palette=[[0,0,0],[255,255,255]]'" in caught.value.hint
    painted = masks(tmp_path, [0, 255], ["background", "leaf"], palette=[[0, 0, 0], [255, 255, 255]])
    assert check_splits(painted.dataset, needs_test=True) == []
    counts = painted.dataset("test").class_counts()
    assert counts.counts == (768, 768)


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        ([1, 2], {}, ["no pixel", ": a.", "data.first=1"]),
        ([0, 1, 2], {"first": 1}, ["no pixel", ": c.", "data.first=0"]),
        ([0, 1], {}, ["no pixel", ": c."]),
        ([1, 2, 9], {"unknown": "ignore"}, [": a.", "data.first=1"]),
    ],
)
def test_a_class_that_never_occurs_is_named_with_what_to_type(
    tmp_path: Path, values: list[int], options: dict[str, Any], words: list[str]
) -> None:
    warnings = check_splits(masks(tmp_path, values, ["a", "b", "c"], **options).dataset, needs_test=False)
    assert len(warnings) == 2 and "training" in warnings[0] and "validation" in warnings[1]
    assert all(word in warning for warning in warnings for word in words)
    assert ("data.first" in warnings[0]) == any("data.first" in word for word in words)


def test_numbers_beyond_the_classes_suggest_their_first_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="contains unknown class id 2") as caught:
        check_splits(masks(tmp_path, [1, 2], ["a", "b"]).dataset, needs_test=False)
    assert "data.first=1" in caught.value.hint
    assert check_splits(masks(tmp_path, [1, 2], ["a", "b"], first=1).dataset, needs_test=True) == []


def test_a_class_that_validation_never_shows_is_named(tmp_path: Path) -> None:
    # two of six images are for validation
    source = masks(tmp_path, [0, 1], ["a", "b"], kinds=6)
    shown = {split: source.dataset(split).class_counts().absent for split in ("train", "holdout")}  # type: ignore[arg-type]
    assert sorted(shown.values()) == [(), ("b",)]


def test_many_absent_classes_are_counted(tmp_path: Path) -> None:
    source = Ade20k(str(scenes.ade20k(tmp_path)), height=64, width=96, validation=0.3)
    train = check_splits(source.dataset, needs_test=True)[0]
    assert "of 150 classes have no pixel in the " in train and " more." in train and len(train) < 200


def changed(root: Path, change: Callable[[dict[str, Any]], None]) -> Coco:
    for part in ("train2017", "val2017"):
        path = root / f"annotations/instances_{part}.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
    return Coco(str(root), height=64, width=64, validation=0.25)


def test_a_category_without_objects_is_named_and_a_set_without_any_is_refused(tmp_path: Path) -> None:
    root = coco.write(tmp_path)
    source = changed(root, lambda each: each["categories"].append({"id": 9, "name": "star"}))
    warnings = check_splits(source.dataset, needs_test=True)
    assert warnings[0] == "1 of 3 classes has no object in the 6 training images: star."
    counts = source.dataset("train").class_counts()
    singles = sum(len(source.objects(0, place).single()) for place in source.dataset("train").places)
    assert sum(counts.counts) == singles > 0
    with pytest.raises(DataError, match=r"3 of 3 classes have no object .*nothing to learn"):
        check_splits(changed(root, lambda each: each.update(annotations=[])).dataset, needs_test=False)


def test_labels_of_shards_that_begin_at_one_are_told(tmp_path: Path) -> None:
    write_tars(tmp_path)
    assert check_splits(Shards(str(tmp_path), 3, VIEWS).dataset, needs_test=True) == []
    counts = Shards(str(tmp_path), 4, VIEWS).dataset("train").class_counts()
    assert counts.absent == ("class 3",) and counts.hint == ""
    source = Shards(str(tmp_path), 4, VIEWS)
    for part in ("train", "test"):
        source.shelf(part).labels += 1  # type: ignore[arg-type]
    warning = check_splits(source.dataset, needs_test=True)[0]
    assert "no image in the" in warning and ": class 0." in warning and "write them from 0" in warning


def test_one_class_is_nothing_to_learn(tmp_path: Path) -> None:
    write_folders(tmp_path)
    (tmp_path / "train").rename(tmp_path / "all")
    source = Shards(str(tmp_path), 2, VIEWS)
    assert isinstance(source.dataset("train"), CountsClasses)
    write_tars(tmp_path / "tars")
    source = Shards(str(tmp_path / "tars"), 3, VIEWS)
    source.shelf("train").labels[:] = 1
    with pytest.raises(
        DataError, match=r"2 of 3 classes have no image .*: class 0, class 2\. There is nothing"
    ):
        check_splits(source.dataset, needs_test=False)


def test_missing_test_files_are_refused_before_training(tmp_path: Path) -> None:
    source = masks(tmp_path / "masks", [0, 1], ["a", "b"], lists=str(tmp_path / "lists"))
    (tmp_path / "lists").mkdir()
    for split, count in (("train", 6), ("test", 3)):
        lines = [f"images/{split}/{n}.png masks/{split}/{n}.png\n" for n in range(count)]
        (tmp_path / "lists" / f"{split}.txt").write_text("".join(lines))
    with pytest.raises(MissingFilesError, match=r"test\.txt: 2 of 6 files are missing: .*images/test/2\.png"):
        check_splits(source.dataset, needs_test=False)
    root = coco.write(tmp_path / "coco")
    (root / "val2017/000000000001.jpg").unlink()
    with pytest.raises(MissingFilesError, match="1 of 4 files are missing"):
        check_splits(Coco(str(root)).dataset, needs_test=False)


def test_a_test_split_that_is_not_there_is_a_warning_unless_it_will_be_read(tmp_path: Path) -> None:
    rooms = nyu.write(tmp_path / "nyu")
    (rooms / "official_splits").rename(rooms / "gone")
    streets = kitti.write(tmp_path / "kitti", height=40, width=80)
    write_folders(tmp_path / "labelled")
    (tmp_path / "labelled/val").rename(tmp_path / "labelled/gone")
    for source in (
        Nyu(str(rooms), height=32, width=32, border=None),
        Kitti(str(streets), height=32, width=64),
        ImageFolder(str(tmp_path / "labelled"), 3, VIEWS),
    ):
        [warning] = check_splits(source.dataset, needs_test=False)
        assert warning.startswith("The test split, which stage=evaluate reads, is not there: ")
        with pytest.raises(DataError):
            check_splits(source.dataset, needs_test=True)


def test_a_test_split_that_cannot_be_opened_is_refused_before_training(tmp_path: Path) -> None:
    source = masks(tmp_path, [0, 1], ["a", "b"])
    (tmp_path / "masks/test/0.png").write_bytes(encoded(Image.new("L", (48, 32)), "JPEG").content)
    assert check_splits(source.dataset, needs_test=False) == []
    with pytest.raises(DataError, match=r"masks/test/0\.png is a JPEG"):
        check_splits(source.dataset, needs_test=True)


def test_splits_that_share_images_are_found(tmp_path: Path) -> None:
    source = masks(tmp_path, [0, 1], ["a", "b"], test="train")
    with pytest.raises(DataError, match="The test images are the training images"):
        check_splits(source.dataset, needs_test=True)
    # one image of the test is another name of a training image
    source = masks(tmp_path, [0, 1], ["a", "b"])
    (tmp_path / "images/test/0.png").unlink()
    (tmp_path / "images/test/0.png").symlink_to(tmp_path / "images/train/2.png")
    with pytest.raises(DataError, match="and test share 1 of 2 images"):
        check_splits(source.dataset, needs_test=True)


@pytest.mark.parametrize(("most", "shown"), [(2**8, 0), (2**12, 15), (2**14, 63)])
def test_images_of_16_bits_that_use_the_low_ones_are_told(tmp_path: Path, most: int, shown: int) -> None:
    source = masks(tmp_path, [0, 1], ["a", "b"])
    for path in sorted((tmp_path / "images").rglob("*.png")):
        numbers = np.linspace(0, most - 1, 32 * 48).reshape(32, 48).astype(np.uint16)
        # grey ones keep all their bits in memory, coloured ones do not
        samples = numbers if path.name == "0.png" else np.stack([numbers] * 3, -1)
        path.write_bytes(png(16, samples).content)
    warnings = check_splits(source.dataset, needs_test=True)
    assert [each.split()[2] for each in warnings] == ["training", "validation", "test"]
    bits = most.bit_length() - 1
    assert all(
        f"use {bits} of them at most" in each and f"shows as {shown} of 255" in each for each in warnings
    )
    assert all("fill 16 bits" in each for each in warnings)
    bright = png(16, np.full((32, 48), 2**15))
    for split in ("train", "test"):
        for path in (tmp_path / "images" / split).iterdir():
            path.write_bytes(bright.content)
    assert check_splits(source.dataset, needs_test=True) == []


def test_the_quick_look_reads_whole_images_of_every_split(tmp_path: Path) -> None:
    """Counting stops at the first masks that show all classes, so that it would not see any of these."""
    for number, (split, place, damage, words) in enumerate(
        [
            ("train", "images/train/{}", b"", r"is not a PNG or JPEG image"),
            (
                "holdout",
                "images/train/{}",
                encoded(Image.new("RGB", (9, 9))).content,
                "but its image .* is 9x9",
            ),
            ("test", "images/test/{}", encoded(Image.new("RGB", (48, 32)), "GIF").content, "but GIF"),
        ]
    ):
        root = tmp_path / str(number)
        source = masks(root, [0, 1], ["a", "b"])
        name = source.frames(split)[-1].image.name  # type: ignore[arg-type]
        (root / place.format(name)).write_bytes(damage)
        with pytest.raises(DataError, match=words) as caught:
            check_splits(source.dataset, needs_test=True)
        assert name in caught.value.message
        assert caught.value.hint.endswith("To see all that is wrong with the data: stage=check")


def test_the_quick_look_reads_a_few_images_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = masks(tmp_path, [0, 1], ["a", "b"])
    for split in ("train", "test"):
        for number in range(10, 40):
            for kind in ("images", "masks"):
                shutil.copy(tmp_path / kind / split / "0.png", tmp_path / kind / split / f"{number}.png")
    opened: list[Path] = []
    original = base.open_picture

    def counted(path: Path, *options: Any) -> Image.Image:
        opened.append(path)
        return original(path, *options)

    monkeypatch.setattr(base, "open_picture", counted)
    assert check_splits(source.dataset, needs_test=True) == []
    # four of each split, evenly spaced, and the first and the last among them
    names = {split: [frame.image for frame in source.frames(split)] for split in SPLITS}
    for split, paths in names.items():
        read = set(opened) & set(paths)
        assert len(read) == 4 and {paths[0], paths[-1]} <= read, split


WORDS = ("+task=masks", "data.root=set", "data.height=32", "data.width=64", "data.classes=[background,leaf]")


def test_a_pipeline_asks_before_anything_is_trained(
    tmp_path: Path, evonas_command: Callable[..., Any]
) -> None:
    masks(tmp_path / "set", [0, 255], ["background", "leaf"])
    ended = evonas_command(*WORDS, "distill=none", "baselines=[]", "run=a")
    assert ended.code == DataError.exit_code and "no pixel in the" in ended.err and "leaf" in ended.err
    assert "data.palette=[[0,0,0],[255,255,255]]" in ended.err
    assert not list(Path("outputs/a").rglob("*.safetensors"))
    masks(tmp_path / "set", [0, 1], ["background", "leaf"])
    (tmp_path / "set/images/test/1.png").unlink()
    ended = evonas_command(*WORDS, "distill=none", "baselines=[]", "run=b")
    assert ended.code == DataError.exit_code and "1.png has no partner" in ended.err


def test_a_training_asks_for_itself(tmp_path: Path) -> None:
    masks(tmp_path / "set", [0, 255], ["background", "leaf"])
    limits = {"max_epochs": None, "max_batches": None}
    made = small_run.context(
        tmp_path / "run", task=task(tmp_path / "set", ["background", "leaf"]), limits=limits
    )
    training = TrainingSetup(made, "supernet")
    with pytest.raises(DataError, match="1 of 2 classes has no pixel"):
        training.data("supernet/1", 4)


def task(root: Path, classes: list[str]) -> dict[str, Any]:
    """The config of a segmentation task."""
    data = {
        "_target_": "evonas.data.segmentation.mask_folders.MaskFolders",
        "root": str(root),
        "classes": classes,
        "validation": 0.4,
    }
    head = {"_target_": "evonas.nn.heads.DenseHead", "_partial_": True}
    segmentation = "evonas.tasks.segmentation.Segmentation"
    return {"_target_": segmentation, "data": data, "head": head, "name": "masks"}


def test_warnings_are_said_once_for_all_stages(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    masks(tmp_path, [0, 1], ["a", "b"])
    (tmp_path / "masks/test").rename(tmp_path / "gone")
    setup = Setup(OmegaConf.create({"task": task(tmp_path, ["a", "b"])}))
    with caplog.at_level(logging.WARNING):
        setup.check_data()
        setup.check_data()
    assert caplog.text.count("The test split, which stage=evaluate reads, is not there: ") == 1
    with pytest.raises(DataError, match="masks/test does not exist"):
        setup.check_data(needs_test=True)
