"""ADE20K, Cityscapes and any folders of masks, in their true layouts, written here."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import encoded, exif, png
from PIL import Image
from trees import scenes

from evonas.data.augment import denormalise
from evonas.data.base import SPLITS
from evonas.data.segmentation.ade20k import CLASSES, Ade20k
from evonas.data.segmentation.cityscapes import LABEL_IDS, Cityscapes
from evonas.data.segmentation.mask_folders import MaskFolders
from evonas.data.segmentation.photometric import Photometric
from evonas.data.segmentation.variable_size import CropAugment, fitted, scaled
from evonas.errors import DataError, UserError
from evonas.randomness import generator

PLAIN = CropAugment(scale=(96, 64), ratio=(1.0, 1.0), dominance=1.0, flip=0.0, colour=Photometric(0, 0, 0, 0))


def ade(root: Path, **options: Any) -> Ade20k:
    return Ade20k(str(root), **{"height": 64, "width": 96, "crop": (32, 64), "validation": 0.3, **options})


@pytest.fixture
def ade_tree(tmp_path: Path) -> Path:
    return scenes.ade20k(tmp_path / "ade")


def test_ade_is_cut_into_disjoint_splits_of_the_published_ones(ade_tree: Path) -> None:
    data = ade(ade_tree)
    names = {split: {frame.image.name for frame in data.frames(split)} for split in SPLITS}
    assert len(names["test"]) == 3 and all(name.startswith("ADE_val") for name in names["test"])
    assert len(names["train"]) + len(names["holdout"]) == 9 and not names["train"] & names["holdout"]
    assert {frame.image.name for frame in ade(ade_tree / "ADEChallengeData2016").frames("test")} == names[
        "test"
    ]


def test_ade_labels_start_from_one_and_nought_is_nothing(ade_tree: Path) -> None:
    data = ade(ade_tree)
    frame = data.frames("test")[0]
    raw = np.asarray(Image.open(frame.truth)).astype(int)
    np.testing.assert_array_equal(data.decoded(frame)[1], np.where(raw == 0, 255, raw - 1))
    assert len(CLASSES) == 150 and len(set(CLASSES)) == 150
    assert (CLASSES[0], CLASSES[73], CLASSES[149]) == ("wall", "kitchen island", "flag")


def test_ade_names_what_is_wrong(ade_tree: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing: .*annotations/validation"):
        ade(tmp_path).frames("test")
    mask = next((ade_tree / "ADEChallengeData2016/annotations/validation").iterdir())
    Image.fromarray(np.full((48, 64), 151, dtype=np.uint8)).save(mask)
    with pytest.raises(DataError, match=f"{mask.name} contains unknown class id 151"):
        list(ade(ade_tree).dataset("test"))
    Image.fromarray(np.full((5, 64), 1, dtype=np.uint8)).save(mask)
    with pytest.raises(DataError, match=f"{mask.name} is 5x64, but its image"):
        list(ade(ade_tree).dataset("test"))
    mask.unlink()
    with pytest.raises(DataError, match="has no partner"):
        len(ade(ade_tree).dataset("test"))


def test_whole_images_lie_on_the_canvas_in_their_ratio(ade_tree: Path) -> None:
    data = ade(ade_tree, truth_scale=2)
    for frame, item in zip(data.frames("test"), data.dataset("test"), strict=True):
        assert item["image"].shape == (3, 64, 96) and item["classes"].shape == (128, 192)
        image, mask = data.read(frame)
        height, width = fitted(mask.shape, data.size)
        assert abs(height / width - mask.shape[0] / mask.shape[1]) < 0.02
        assert height == 64 or width == 96
        # the mean colour is zero once normalised
        assert not item["image"][:, height:].any() and not item["image"][:, :, width:].any()
        assert (item["classes"][2 * height :] == 255).all() and (item["classes"][:, 2 * width :] == 255).all()
        inside = item["classes"][: 2 * height, : 2 * width]
        wanted = Image.fromarray(mask).resize((2 * width, 2 * height), Image.Resampling.NEAREST)
        np.testing.assert_array_equal(inside, np.asarray(wanted))
        shown = denormalise(item["image"][None])[0, :height, :width].astype(int)
        stretched = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
        assert np.abs(shown - stretched).max() <= 1


@pytest.mark.parametrize(
    ("shape", "long", "short", "size"),
    [
        ((512, 683), 2048, 512, (512, 683)),
        ((683, 512), 2048, 512, (683, 512)),
        ((1024, 2048), 2048, 1024, (1024, 2048)),
        ((300, 2000), 2048, 512, (307, 2048)),
        ((256, 256), 1024, 256, (256, 256)),
    ],
)
def test_sizes_of_published_resizing(shape: Any, long: int, short: int, size: Any) -> None:
    """The largest size whose longer and shorter sides fit, as (2048, 512) with the ratio kept means."""
    assert scaled(shape, long, short) == size


def test_crops_cut_image_and_mask_together(ade_tree: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (151, 3))
    data = ade(ade_tree, augment=CropAugment(scale=(96, 64), colour=Photometric(0, 0, 0, 0)))
    images = data.dataset("train")
    for epoch in range(4):
        images.set_epoch(epoch)
        for item in images:
            assert item["image"].shape == (3, 32, 64) and item["classes"].shape == (32, 64)
            known = (item["classes"] != 255).numpy()
            shown = denormalise(item["image"][None])[0].astype(int)
            difference = np.abs(shown - colours[np.where(known, item["classes"] + 1, 0)]).max(axis=-1)[known]
            # noise of ten, JPEG, and borders between classes
            assert np.median(difference) < 30


def test_augmentation_is_a_function_of_seed_epoch_and_index(ade_tree: Path) -> None:
    images = ade(ade_tree).dataset("train")
    first = images[1]["image"]
    images.set_epoch(1)
    assert not torch.equal(images[1]["image"], first)
    images.set_epoch(0)
    images[0]
    assert torch.equal(images[1]["image"], first)
    assert torch.equal(ade(ade_tree).dataset("train")[1]["image"], first)
    assert not torch.equal(ade(ade_tree, augment_seed=1).dataset("train")[1]["image"], first)
    images.augment = False
    assert images[1]["image"].shape == (3, 64, 96)


def test_small_images_are_filled_up() -> None:
    image, mask = scenes.painted(0, 5, (32, 32))
    picture, labels = CropAugment(scale=(64, 16), ratio=(1.0, 1.0))(image, mask, (32, 64), generator(0, "t"))
    assert picture.shape == (16, 16, 3) and labels.shape == (16, 16)


def test_dominated_windows_are_drawn_again() -> None:
    mask = np.zeros((64, 640), dtype=np.uint8)
    mask[:, ::8] = 1
    mask[:, 320:] = 2
    mask[:, 320::2] = 3
    image = np.zeros((64, 640, 3), dtype=np.uint8)
    options: dict[str, Any] = {"scale": (640, 64), "ratio": (1.0, 1.0), "flip": 0.0}
    shares = []
    for dominance in (1.0, 0.75):
        drawn = [
            CropAugment(**options, dominance=dominance)(image, mask, (64, 64), generator(seed, "t"))[1]
            for seed in range(20)
        ]
        shares.append(np.mean([np.bincount(each.ravel()).max() / each.size > 0.75 for each in drawn]))
    # half of the places are dominated by class 0; ten draws nearly always find another
    assert 0.2 < shares[0] < 0.8 and shares[1] == 0.0


def test_a_mirrored_pair_is_mirrored_as_one() -> None:
    image, mask = scenes.painted(3, 5, (64, 96))
    straight = PLAIN(image, mask, (64, 96), generator(0, "t"))
    np.testing.assert_array_equal(straight[0], image)
    np.testing.assert_array_equal(straight[1], mask)
    always = CropAugment((96, 64), (1.0, 1.0), 1.0, 1.0, Photometric(0, 0, 0, 0))
    turned = always(image, mask, (64, 96), generator(0, "t"))
    np.testing.assert_array_equal(turned[0], image[:, ::-1])
    np.testing.assert_array_equal(turned[1], mask[:, ::-1])


def pixel(*channels: int) -> np.ndarray:
    return np.full((2, 2, 3), channels, dtype=np.uint8)


def outcomes(how: Photometric, image: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(how(image, generator(seed, "t"))[0, 0].tolist()) for seed in range(60)}


def test_each_photometric_change_alone() -> None:
    """Brightness adds, contrast multiplies, saturation and hue leave grey alone; half of the time nothing."""
    grey = pixel(100, 100, 100)
    added = {value[0] for value in outcomes(Photometric(32, 0, 0, 0), grey)}
    assert min(added) >= 68 and max(added) <= 132 and 100 in added and len(added) > 10
    times = {value[0] for value in outcomes(Photometric(0, 0.5, 0, 0), grey)}
    assert min(times) >= 50 and max(times) <= 150 and len(times) > 10
    assert outcomes(Photometric(0, 0, 0.5, 36), grey) == {(100, 100, 100)}
    turned = outcomes(Photometric(0, 0, 0, 36), pixel(200, 40, 40))
    # red turned by at most 36 degrees stays mostly red
    assert len(turned) > 10 and all(red == 200 and max(green, blue) <= 140 for red, green, blue in turned)
    pale = outcomes(Photometric(0, 0, 0.5, 0), pixel(200, 100, 100))
    assert all(red == 200 and 48 <= green <= 152 for red, green, _ in pale) and len(pale) > 10


@pytest.mark.parametrize(
    "wrong",
    [{"scale": (0, 5)}, {"ratio": (2.0, 1.0)}, {"dominance": 1.5}, {"flip": -0.1}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_impossible_augmentation_is_the_users_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"data.augment.*{next(iter(wrong))}"):
        CropAugment(**wrong)


def test_impossible_colours_and_sizes_are_the_users_errors(ade_tree: Path) -> None:
    with pytest.raises(UserError, match="hue"):
        Photometric(hue=200)
    with pytest.raises(UserError, match="truth_scale must be at least 1, got 0"):
        ade(ade_tree, truth_scale=0)
    with pytest.raises(UserError, match="30x64"):
        ade(ade_tree, crop=(30, 64))


def city(root: Path, **options: Any) -> Cityscapes:
    return Cityscapes(str(root), **{"height": 32, "width": 64, "validation": 0.4, **options})


def test_cityscapes_numbers_are_those_of_the_public_table(tmp_path: Path) -> None:
    data = city(scenes.cityscapes(tmp_path))
    frame = data.frames("test")[0]
    raw, found = np.asarray(Image.open(frame.truth)), data.decoded(frame)[1]
    for number, label in enumerate(LABEL_IDS.values()):
        assert (found[raw == label] == number).all()
    assert (found[~np.isin(raw, list(LABEL_IDS.values()))] == 255).all()
    assert list(LABEL_IDS.values()) == [7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33]


def test_cityscapes_holds_out_whole_cities(tmp_path: Path) -> None:
    data = city(scenes.cityscapes(tmp_path))
    groups = {split: {frame.group for frame in data.frames(split)} for split in SPLITS}
    assert groups["test"] == {"lindau"} and len(groups["holdout"]) == 1
    assert groups["train"] | groups["holdout"] == {"aachen", "bochum", "zurich"}


def test_cityscapes_reads_train_ids_where_there_are_no_ids(tmp_path: Path) -> None:
    data = city(scenes.cityscapes(tmp_path, kind="labelTrainIds"))
    frame = data.frames("test")[0]
    np.testing.assert_array_equal(data.decoded(frame)[1], np.asarray(Image.open(frame.truth)))


def test_cityscapes_can_be_scored_at_full_resolution(tmp_path: Path) -> None:
    data = city(scenes.cityscapes(tmp_path), truth_scale=2)
    mask = data.decoded(data.frames("test")[0])[1]
    np.testing.assert_array_equal(data.dataset("test")[0]["classes"], mask)


def test_cityscapes_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="contains no cities"):
        len(city(tmp_path).dataset("train"))
    scenes.cityscapes(tmp_path)
    next((tmp_path / "gtFine/val/lindau").iterdir()).unlink()
    with pytest.raises(DataError, match="gtFine/val: 1 of 6 files are missing"):
        len(city(tmp_path).dataset("test"))


PALETTE = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def folders(root: Path, colour: bool = False, first: int = 0) -> Path:
    for split, count in (("train", 6), ("test", 2)):
        for number in range(count):
            image, mask = scenes.painted(number, 3, (40, 60))
            pixels = np.array(PALETTE, dtype=np.uint8)[mask] if colour else mask + np.uint8(first)
            for kind, content in (("images", image), ("masks", pixels)):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
                Image.fromarray(content).save(root / kind / split / f"{number}.png")
    return root


def masks(root: Path, **options: Any) -> MaskFolders:
    given = {"height": 32, "width": 64, "classes": ["a", "b", "c"], "validation": 0.3, **options}
    return MaskFolders(str(root), **given)


def test_numbers_colours_and_files_of_classes_say_the_same(tmp_path: Path) -> None:
    plain, painted, shifted = (tmp_path / name for name in ("plain", "painted", "shifted"))
    (tmp_path / "classes.txt").write_text("a 255 0 0\nb 0 255 0\nlight blue 0 0 255\n")
    (tmp_path / "names.txt").write_text("a\nb\nlight blue\n")
    sources = [
        masks(folders(plain)),
        masks(folders(painted, colour=True), palette=PALETTE),
        masks(painted, classes=str(tmp_path / "classes.txt")),
        masks(folders(shifted, first=1), first=1, classes=str(tmp_path / "names.txt")),
    ]
    wanted = [item["classes"] for item in sources[0].dataset("test")]
    for source in sources[1:]:
        assert all(torch.equal(a, b["classes"]) for a, b in zip(wanted, source.dataset("test"), strict=True))
    assert sources[2].classes == sources[3].classes == ("a", "b", "light blue")
    manifests = {source.dataset("test").manifest() for source in sources}
    assert len(manifests) == 4


def test_what_is_no_class_is_refused_or_ignored(tmp_path: Path) -> None:
    root = folders(tmp_path / "plain")
    with pytest.raises(DataError, match="contains unknown class id 2"):
        list(masks(root, classes=["a", "b"]).dataset("test"))
    ignored = masks(root, classes=["a", "b"], unknown="ignore").dataset("test")[0]["classes"]
    assert set(ignored.unique().tolist()) == {0, 1, 255}
    painted = folders(tmp_path / "painted", colour=True)
    with pytest.raises(DataError, match=r"the unknown colour \(0, 0, 255\)"):
        list(masks(painted, classes=["a", "b"], palette=PALETTE[:2]).dataset("test"))
    either = masks(painted, classes=["a", "b"], palette=PALETTE[:2], unknown="ignore").dataset("test")[0]
    assert torch.equal(either["classes"], ignored)
    with pytest.raises(DataError, match="contains colours"):
        list(masks(painted).dataset("test"))


def test_lists_name_pairs_anywhere_below_the_root(tmp_path: Path) -> None:
    root = folders(tmp_path / "plain")
    (tmp_path / "lists").mkdir()
    for split in ("train", "test"):
        lines = [f"images/{split}/{n}.png masks/{split}/{n}.png" for n in range(2)]
        (tmp_path / "lists" / f"{split}.txt").write_text("\n".join(lines))
    data = masks(root, lists=str(tmp_path / "lists"), validation=0.5)
    assert [len(data.dataset(split)) for split in SPLITS] == [1, 1, 2]
    assert data.dataset("test").manifest()
    (tmp_path / "lists" / "test.txt").write_text("images/test/0.png ../lists/test.txt")
    with pytest.raises(DataError, match="line 1 leaves the data folder"):
        len(masks(root, lists=str(tmp_path / "lists")).dataset("test"))


def test_an_official_validation_split_is_used(tmp_path: Path) -> None:
    root = folders(tmp_path)
    for kind in ("images", "masks"):
        (root / kind / "val").mkdir()
        (root / kind / "train" / "0.png").rename(root / kind / "val" / "0.png")
    data = masks(root, validation="val")
    assert [len(data.dataset(split)) for split in SPLITS] == [5, 1, 2]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"classes": ["a"]}, "got 1 names"),
        ({"classes": ["a", "b", "a"]}, "got 3 names, 2 of them distinct"),
        ({"palette": PALETTE[:2]}, "3 classes have 2 distinct colours"),
        ({"palette": [*PALETTE[:2], [0, 0, 300]]}, "a colour must be three integers"),
        ({"unknown": "guess"}, "unknown=guess"),
        ({"first": 253}, "got 253"),
        ({"classes": ["a", "b", "a "]}, "got 3 names, 2 of them distinct"),
        ({"classes": ["a", "b", " "]}, "contains an empty name"),
    ],
)
def test_a_legend_that_cannot_be_is_said(wrong: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises((UserError, DataError), match=words):
        masks(tmp_path, **wrong)


def test_a_file_of_classes_is_all_colours_or_none(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("a 255 0 0\nb\n")
    with pytest.raises(DataError, match="line 2 has no colour"):
        masks(tmp_path, classes=str(tmp_path / "classes.txt"))
    # numbers would become a part of the names, and their order would mean nothing
    for text in (
        "0 road\n7: tree\n8 car\n",
        "128 64 128\n0 0 142\n70 70 70\n",
        "1 road 128 64 128\n2 car 0 0 142\n",
    ):
        (tmp_path / "classes.txt").write_text(text)
        with pytest.raises(DataError, match=r"classes\.txt, line 1 begins with the number (0|128|1), as all"):
            masks(tmp_path, classes=str(tmp_path / "classes.txt"))
    (tmp_path / "classes.txt").write_text("0\n1\n2 big\n")
    assert masks(tmp_path, classes=str(tmp_path / "classes.txt")).classes == ("0", "1", "2 big")
    with pytest.raises(DataError, match="does not exist"):
        len(masks(tmp_path).dataset("train"))


def test_a_photograph_is_turned_upright_before_it_meets_its_mask(tmp_path: Path) -> None:
    """White above, black below, in every way that a camera stores it."""
    root = folders(tmp_path)
    upright = np.zeros((64, 64, 3), np.uint8)
    upright[:32] = 255
    for orientation, turns in ((1, 0), (3, 2), (6, 1), (8, 3)):
        stored = np.rot90(upright, turns)
        file = encoded(Image.fromarray(stored), "JPEG", quality=95, exif=exif(orientation))
        (root / "images/test/0.png").write_bytes(file.content)
        Image.fromarray(upright[..., 0] // 255).save(root / "masks/test/0.png")
        item = masks(root, height=64, width=64, classes=["dark", "white"]).dataset("test")[0]
        for label, wanted in ((0, -2.11), (1, 2.24)):
            shown = item["image"][0][item["classes"] == label]
            assert float(shown.mean()) == pytest.approx(wanted, abs=0.02), orientation
    # a mask of the stored pixels cannot lie on the turned photograph
    Image.fromarray(np.zeros((40, 64), np.uint8)).save(root / "masks/test/0.png")
    file = encoded(Image.new("RGB", (64, 40)), "JPEG", exif=exif(6))
    (root / "images/test/0.png").write_bytes(file.content)
    with pytest.raises(
        DataError, match=r"is 40x64, but .* is 64x40 \(stored as 40x64 with EXIF orientation 6"
    ):
        masks(root, classes=["dark", "white"]).dataset("test")[0]


def test_photographs_of_sixteen_bits_are_not_clipped(tmp_path: Path) -> None:
    root = folders(tmp_path)
    values = np.random.default_rng(0).integers(0, 2**16, (40, 60)).astype(np.uint16)
    Image.fromarray(values).save(root / "images/test/0.png")
    data = masks(root)
    np.testing.assert_array_equal(data.decoded(data.frames("test")[0])[0][..., 0], values >> 8)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_class_ids_are_those_of_the_file_at_every_depth(tmp_path: Path, bits: int) -> None:
    root = folders(tmp_path)
    raw = np.arange(40 * 60).reshape(40, 60) % min(3, 2**bits)
    (root / "masks/test/0.png").write_bytes(png(bits, raw).content)
    data = masks(root)
    np.testing.assert_array_equal(data.decoded(data.frames("test")[0])[1], raw)
    (root / "masks/test/0.png").write_bytes(png(16, raw + 2**12).content)
    with pytest.raises(DataError, match=r"contains unknown class ids? 409[678]"):
        data.decoded(data.frames("test")[0])
    ignoring = masks(root, unknown="ignore")
    assert (ignoring.decoded(ignoring.frames("test")[0])[1] == 255).all()


def test_lossy_masks_are_refused(tmp_path: Path) -> None:
    for colour, options in ((False, {}), (True, {"palette": PALETTE})):
        root = folders(tmp_path / str(colour), colour=colour)
        mask = root / "masks/test/0.png"
        Image.open(mask).convert("RGB" if colour else "L").save(mask.with_suffix(".jpg"), quality=100)
        mask.unlink()
        with pytest.raises(DataError, match=r"masks/test/0\.jpg is a JPEG, .*masks must be PNG"):
            masks(root, **options).dataset("test")[0]


def test_files_that_are_not_read_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = folders(tmp_path)
    for name in ("a.WEBP", "b.webp", "c.bmp", "notes", ".hidden", "Thumbs.db"):
        (root / "images/train" / name).touch()
    (root / "masks/train/old").mkdir()
    with caplog.at_level(logging.WARNING):
        assert len(masks(root).frames("train")) + len(masks(root).frames("holdout")) == 6
    found = {record.getMessage() for record in caplog.records}
    assert any(
        "1 .bmp file, 2 .webp files and 1 file in" in each and "images/train" in each for each in found
    )
    assert any("Skipped: 1 folder in" in each and "masks/train" in each for each in found)
    (root / "images/train/0.png").rename(root / "images/train/0.tif")
    with pytest.raises(DataError, match=r"masks/train/0\.png has no partner in .*: 0\.tif is not read"):
        masks(root).frames("train")


def test_suffixes_in_capitals_and_jfif_are_images(tmp_path: Path) -> None:
    root = folders(tmp_path)
    for number, suffix in enumerate((".PNG", ".jpeg", ".JPG", ".jfif", ".jpe")):
        (root / f"images/train/{number}.png").rename(root / f"images/train/{number}{suffix}")
    (root / "masks/train/5.png").rename(root / "masks/train/5.PNG")
    data = masks(root)
    assert len(data.frames("train")) + len(data.frames("holdout")) == 6


def test_names_with_accents_match_in_either_spelling(tmp_path: Path) -> None:
    root = folders(tmp_path)
    (root / "images/train/0.png").rename(root / "images/train/\u00fcber.png")
    (root / "masks/train/0.png").rename(root / "masks/train/u\u0308ber.png")
    data = masks(root)
    assert len(data.frames("train")) + len(data.frames("holdout")) == 6


def lists(folder: Path, **lines: list[str]) -> str:
    folder.mkdir(exist_ok=True)
    for name, content in lines.items():
        (folder / f"{name}.txt").write_text("\n".join(content), encoding="utf-8")
    return str(folder)


def pairs(*numbers: int, split: str = "train") -> list[str]:
    return [f"images/{split}/{number}.png masks/{split}/{number}.png" for number in numbers]


def test_splits_that_share_images_are_refused(tmp_path: Path) -> None:
    root = folders(tmp_path)
    given = lists(tmp_path / "lists", train=pairs(0, 1, 2, 3), val=pairs(3, 4), test=pairs(1, 2))
    data = masks(root, lists=given)
    assert len(data.frames("train")) + len(data.frames("holdout")) == 4
    # asking again makes it no better
    for _ in range(2):
        with pytest.raises(DataError, match=r"and test share [12] of 2 images: .*images/train/[12]\.png"):
            data.frames("test")
    official = masks(root, lists=given, validation="val")
    assert len(official.frames("holdout")) == 2
    with pytest.raises(DataError, match=r"holdout and train share 1 of 4 images: .*images/train/3\.png"):
        official.frames("train")
    # one folder for both, by name and by a link
    for test in ("train", "linked"):
        (root / "images/linked").unlink(missing_ok=True)
        (root / "images/linked").symlink_to(root / "images/train")
        data = masks(root, test=test, masks="masks/train")
        data.frames("train")
        with pytest.raises(DataError, match=r"(train|holdout) and test share|test images are the training"):
            data.frames("test")


def test_a_line_that_occurs_twice_counts_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = folders(tmp_path)
    given = lists(tmp_path / "lists", train=[*pairs(0, 1, 2), *pairs(1)], test=pairs(0, split="test"))
    with caplog.at_level(logging.WARNING):
        data = masks(root, lists=given)
        assert len(data.frames("train")) + len(data.frames("holdout")) == 3
    assert "1 of 4 lines" in caplog.text and "repeat others" in caplog.text
    lists(tmp_path / "lists", train=[*pairs(0, 1), "images/train/1.png masks/train/0.png"])
    with pytest.raises(DataError, match=r"pairs .*images/train/1\.png with 1\.png and with 0\.png"):
        masks(root, lists=given).frames("train")


def test_a_list_that_does_not_exist_is_told_beside_those_that_do(tmp_path: Path) -> None:
    given = lists(tmp_path / "lists", training=pairs(0, 1), test=pairs(0, split="test"))
    with pytest.raises(
        DataError, match=r"train\.txt does not exist; .* contains test\.txt, training\.txt"
    ) as caught:
        masks(folders(tmp_path), lists=given).frames("train")
    assert "data.train=" in caught.value.hint


def test_names_with_blanks_stand_in_lists(tmp_path: Path) -> None:
    root = folders(tmp_path)
    for kind in ("images", "masks"):
        (root / kind / "test/0.png").rename(root / kind / "test/p 0.png")
    quoted = '"images/test/p 0.png" "masks/test/p 0.png"'
    for line in (quoted, "images/test/p 0.png\tmasks/test/p 0.png"):
        given = lists(tmp_path / "lists", train=pairs(0, 1), test=["# image mask", line])
        assert [frame.image.name for frame in masks(root, lists=given).frames("test")] == ["p 0.png"]
    given = lists(tmp_path / "lists", test=["images/test/p 0.png masks/test/p 0.png"])
    with pytest.raises(DataError, match=r"test\.txt, line 1 has 4 words"):
        masks(root, lists=given).frames("test")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_of_classes_are_read_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "classes.txt").write_bytes("# names\r\nroad\r\ntree\r\n\u00fcber car\r\n".encode(encoding))
    assert masks(tmp_path, classes=str(tmp_path / "classes.txt")).classes == ("road", "tree", "\u00fcber car")


def test_all_unknown_values_and_colours_are_named_at_once(tmp_path: Path) -> None:
    root = folders(tmp_path / "plain")
    Image.fromarray(np.arange(40 * 60, dtype=np.uint8).reshape(40, 60) % 9).save(root / "masks/test/0.png")
    with pytest.raises(DataError, match=r"contains unknown class ids 3, 4, 5, 6, 7 and 1 more\."):
        masks(root).dataset("test")[0]
    painted = folders(tmp_path / "painted", colour=True)
    with pytest.raises(DataError, match=r"contains 2 unknown colours: \(0, 0, 255\), \(0, 255, 0\)\."):
        list(masks(painted, classes=["a", "b"], palette=[[255, 0, 0], [1, 2, 3]]).dataset("test"))
    # grey levels with white among them are painted
    Image.fromarray(np.array([[0, 128, 255] * 20] * 40, np.uint8)).save(root / "masks/test/0.png")
    with pytest.raises(DataError, match="contains unknown class id 128") as caught:
        masks(root).dataset("test")[0]
    assert "'data.palette=[[0,0,0],[255,255,255]]'" in caught.value.hint


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    root = folders(tmp_path)
    mask = root / "masks/train/0.png"
    mask.unlink()
    mask.symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"masks/train/0\.png is a link to a file that does not exist"):
        masks(root).frames("train")
    given = lists(tmp_path / "lists", train=pairs(0, 1), test=pairs(0, split="test"))
    with pytest.raises(DataError, match=r"train\.txt: 1 of 4 files are missing"):
        masks(root, lists=given).frames("train")
    with pytest.raises(DataError, match=r"data\.lists=.*train\.txt is not a folder"):
        masks(root, lists=f"{given}/train.txt").frames("train")


def test_links_in_a_circle_are_named(tmp_path: Path) -> None:
    root = folders(tmp_path)
    image = root / "images/train/0.png"
    image.unlink()
    image.symlink_to(image)
    with pytest.raises(DataError, match=r"images/train/0\.png is a link to a file that does not exist"):
        masks(root).frames("train")


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_an_image_under_two_names_is_one_image(tmp_path: Path, link: str) -> None:
    """Splits are often made of links, which a comparison of names would not see."""
    root = folders(tmp_path)
    image = root / "images/test/1.png"
    image.unlink()
    getattr(image, link)(root / "images/train/3.png")
    data = masks(root)
    data.frames("train")
    with pytest.raises(
        DataError, match=r"and test share 1 of 2 images: .*train/3\.png \(also named .*test/1\.png"
    ):
        data.frames("test")
    # also where the validation split is cut from the training images
    root = folders(tmp_path / "more")
    for number in range(1, 6):
        image = root / f"images/train/{number}.png"
        image.unlink()
        getattr(image, link)(root / "images/train/0.png")
    with pytest.raises(DataError, match="The splits train and holdout share"):
        masks(root).frames("train")


def test_lines_that_cannot_be_meant_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = folders(tmp_path)
    given = lists(tmp_path / "lists", train=["masks/train/0.png masks/train/0.png"])
    with pytest.raises(DataError, match=r"train\.txt pairs .*0\.png with itself"):
        masks(root, lists=given).frames("train")
    lists(tmp_path / "lists", train=[each.replace("/", "\\") for each in pairs(0, 1)])
    with pytest.raises(DataError, match=r"train\.txt, line 1 names '.*', which does not exist") as caught:
        masks(root, lists=given).frames("train")
    assert "Separate folders by /" in caught.value.hint
    lists(tmp_path / "lists", train=[f"images/train/{n}.png masks/train/0.png" for n in range(4)])
    with caplog.at_level(logging.WARNING):
        masks(root, lists=given).frames("train")
    assert "3 images in" in caplog.text and "names 1 files for 4 images" in caplog.text


def test_folders_without_splits_are_told_with_what_to_type(tmp_path: Path) -> None:
    root = folders(tmp_path)
    options = {"images": "images/train", "masks": "masks/train"}
    assert len(masks(root, **options).frames("train")) == 5
    with pytest.raises(DataError, match="The test images are the training images") as caught:
        masks(root, **options).frames("test")
    assert (
        "'data.images=\"images/{split}\"'" in caught.value.hint and "data.lists=<folder>" in caught.value.hint
    )
    with pytest.raises(DataError, match=r"Folder .*scans/train does not exist\. .* contains images, masks\."):
        masks(root, images="scans/{split}").frames("train")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"images": "images/{spilt}"}, "has a placeholder that is not known"),
        ({"masks": "masks/{split"}, "has a placeholder that is not known"),
        ({"images": "images/{split.__class__}"}, "has a placeholder that is not known"),
        ({"images": "/images/{split}"}, "is not below data.root="),
        (
            {"palette": [[0, 0, 0], [1.5, 0, 0], [0, 0, 3]]},
            r"three integers from 0 to 255, got \[1.5, 0, 0\]",
        ),
    ],
)
def test_settings_that_cannot_be_meant_are_told(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises((UserError, DataError), match=words):
        masks(folders(tmp_path), **options).frames("train")


def test_smooth_edges_of_painted_masks_are_suspected(tmp_path: Path) -> None:
    root = folders(tmp_path, colour=True)
    mask = root / "masks/test/0.png"
    Image.open(mask).resize((61, 41), Image.Resampling.BILINEAR).save(mask)
    Image.new("RGB", (61, 41)).save(root / "images/test/0.png")
    with pytest.raises(DataError, match="unknown colours") as caught:
        masks(root, palette=PALETTE).dataset("test")[0]
    assert "smooth edges" in caught.value.hint


def test_names_of_another_encoding_are_told(tmp_path: Path) -> None:
    root = folders(tmp_path)
    for kind in ("images", "masks"):
        old = os.fsencode(root / kind / "train/0.png")
        Path(os.fsdecode(old)).rename(os.fsdecode(old.replace(b"0.png", b"k\xfcche.png")))
    with pytest.raises(DataError, match=r"The name of the file b'k\\xfcche\.png' in .* is not UTF-8"):
        masks(root).frames("train")
