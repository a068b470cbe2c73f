"""CamVid in its true layout, written here; and the real folder where EVONAS_CAMVID names it."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evonas.data.segmentation.camvid import CLASSES, FOLDERS, CamVid
from evonas.errors import DataError, UserError

COUNTS = {"train": 4, "val": 2, "test": 3}
HEIGHT, WIDTH = 45, 60


def picture(number: int) -> tuple[np.ndarray, np.ndarray]:
    """An image that shows its own mask: red is twenty times the class."""
    random = np.random.default_rng(number)
    mask = np.repeat(np.repeat(random.integers(0, 12, (5, 6)), 9, 0), 10, 1).astype(np.uint8)
    return np.stack((mask * 20, mask * 0 + 100, mask * 0 + number), axis=-1).astype(np.uint8), mask


def write_tree(root: Path) -> Path:
    number = 0
    for folder, count in COUNTS.items():
        (root / folder).mkdir(parents=True)
        (root / f"{folder}annot").mkdir()
        for index in range(count):
            image, mask = picture(number)
            Image.fromarray(image).save(root / folder / f"{folder}_{index:03}.png")
            Image.fromarray(mask).save(root / f"{folder}annot" / f"{folder}_{index:03}.png")
            number += 1
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "camvid")


def source(tree: Path, **options: int) -> CamVid:
    return CamVid(str(tree), **{"height": 32, "width": 64, **options})


def test_items_are_the_files(tree: Path) -> None:
    data = source(tree)
    for split, folder in FOLDERS.items():
        assert len(data.dataset(split)) == COUNTS[folder]
    item = data.dataset("holdout")[1]
    _, mask = picture(COUNTS["train"] + 1)
    assert item["image"].shape == (3, 32, 64)
    np.testing.assert_array_equal(item["classes"].numpy(), np.where(mask == 11, 255, mask))


def test_crops_cut_image_and_mask_together(tree: Path) -> None:
    data = source(tree).dataset("train")
    agreement, shapes = [], set()
    for epoch in range(10):
        data.set_epoch(epoch)
        for index in range(len(data)):
            item = data[index]
            shapes.add((tuple(item["image"].shape), tuple(item["classes"].shape)))
            # colours are jittered channel by channel, so compare ranks, away from bilinear edges
            red, classes = item["image"][0].flatten(), item["classes"].flatten()
            known = classes < 11
            agreement.append(float(np.corrcoef(red[known], classes[known])[0, 1]))
    assert shapes == {((3, 32, 64), (32, 64))}
    assert np.mean(agreement) > 0.9


def test_epochs_give_different_crops_and_the_same_again(tree: Path) -> None:
    data = source(tree).dataset("train")
    first = data[0]["image"]
    data.set_epoch(1)
    second = data[0]["image"]
    data.set_epoch(0)
    assert torch.equal(data[0]["image"], first)
    assert not torch.equal(second, first)
    assert torch.equal(source(tree).dataset("train")[0]["image"], first)
    assert not torch.equal(source(tree, augment_seed=1).dataset("train")[0]["image"], first)


def test_nothing_is_read_before_it_is_needed(tmp_path: Path) -> None:
    data = source(tmp_path / "nowhere")
    assert data.size == (32, 64)
    images = data.dataset("train")
    with pytest.raises(DataError) as error:
        len(images)
    assert str(tmp_path / "nowhere" / "train") in error.value.message
    assert "and 3 more" in error.value.message
    assert "data.root=" in error.value.hint
    assert "<root>/valannot/<name>.png" in error.value.hint


def test_a_half_missing_tree_names_what_is_missing(tree: Path) -> None:
    (tree / "valannot").rename(tree / "labels")
    with pytest.raises(DataError, match=r"missing: .*valannot") as error:
        len(source(tree).dataset("train"))
    assert "trainannot," not in error.value.message


def test_images_without_masks_are_named_and_the_reverse(tree: Path) -> None:
    (tree / "valannot" / "val_001.png").unlink()
    with pytest.raises(DataError, match=r"val/val_001\.png has no partner in .*valannot"):
        len(source(tree).dataset("holdout"))
    (tree / "test" / "test_002.png").unlink()
    with pytest.raises(DataError, match=r"testannot/test_002\.png has no partner in .*test\."):
        len(source(tree).dataset("test"))


def test_an_empty_split_is_refused(tree: Path) -> None:
    for folder in ("val", "valannot"):
        for path in (tree / folder).iterdir():
            path.unlink()
    with pytest.raises(DataError, match="contains no images"):
        len(source(tree).dataset("holdout"))


def test_masks_of_colours_or_unknown_classes_are_named(tree: Path) -> None:
    image, mask = picture(0)
    Image.fromarray(image).save(tree / "testannot" / "test_000.png")
    Image.fromarray(np.where(mask == 3, 12, mask).astype(np.uint8)).save(tree / "testannot" / "test_001.png")
    data = source(tree).dataset("test")
    with pytest.raises(DataError, match=r"test_000\.png contains colours"):
        data[0]
    with pytest.raises(DataError, match=r"test_001\.png contains unknown class id 12"):
        data[1]


def test_images_of_another_size_are_named(tree: Path) -> None:
    image, _ = picture(0)
    Image.fromarray(image[:40]).save(tree / "test" / "test_001.png")
    data = source(tree).dataset("test")
    with pytest.raises(DataError, match=r"test_001\.png is 40x60, others are 45x60"):
        data[1]


def test_a_broken_image_is_named(tree: Path) -> None:
    (tree / "test" / "test_001.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"test_001\.png is not a PNG or JPEG"):
        source(tree).dataset("test")[1]


def test_too_many_pixels_are_refused(tree: Path) -> None:
    with pytest.raises(DataError, match="more than 100 pixels"):
        source(tree, max_pixels=100).dataset("test")[0]


def test_the_manifest_follows_names_and_sizes_only(tree: Path) -> None:
    before = source(tree).dataset("test").manifest()
    assert source(tree).dataset("test").manifest() == before
    assert source(tree, height=64).dataset("test").manifest() != before
    assert source(tree).dataset("holdout").manifest() != before
    moved = tree.rename(tree.parent / "elsewhere")
    assert source(moved).dataset("test").manifest() == before
    for folder in ("test", "testannot"):
        (moved / folder / "test_000.png").rename(moved / folder / "renamed.png")
    assert source(moved).dataset("test").manifest() != before


def test_sizes_must_fit_the_strides(tree: Path) -> None:
    with pytest.raises(UserError, match="180x240"):
        source(tree, height=180, width=240)


@pytest.mark.skipif("EVONAS_CAMVID" not in os.environ, reason="EVONAS_CAMVID names no CamVid folder")
def test_the_real_folder() -> None:
    data = CamVid(os.environ["EVONAS_CAMVID"])
    assert [len(data.dataset(split)) for split in FOLDERS] == [367, 101, 233]
    counts = torch.zeros(256, dtype=torch.int64)
    for index in range(101):
        item = data.dataset("holdout")[index]
        counts += torch.bincount(item["classes"].flatten(), minlength=256)
        assert torch.isfinite(item["image"]).all()
    present = counts.nonzero().flatten().tolist()
    assert set(present) <= {*range(len(CLASSES)), 255}
    # road and building are the two most common classes of CamVid
    assert set(counts[:11].argsort(descending=True)[:2].tolist()) == {1, 3}
