"""KITTI in its true folders, written by tests/trees/kitti.py: lists, layouts, pixels, broken files."""

import logging
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from trees import kitti

from evonas.data.depth.augment import DepthAugment
from evonas.data.depth.kitti import EIGEN_TRAIN_DRIVES, OFFICIAL_VAL_DRIVES, Kitti, KittiTree
from evonas.data.io.split_lists import Frame, hold_out
from evonas.errors import DataError, UserError

HEIGHT, WIDTH = 40, 80
TRAIN_LIST, TEST_LIST = "eigen_train_files_with_gt.txt", "eigen_test_files_with_gt.txt"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return kitti.write(tmp_path / "kitti", 15, HEIGHT, WIDTH)


def source(tree: Path, **options: Any) -> Kitti:
    return Kitti(str(tree), **{"lists": str(tree / "lists"), "height": 32, "width": 64, **options})


def test_items_are_the_files_cut_at_the_bottom_centre(tree: Path) -> None:
    data = source(tree)
    images = data.dataset("test")
    frame, item = data.frames("test")[1], images[1]
    raw = np.asarray(Image.open(frame.truth)).astype(np.float32)[8:, 8:72]
    assert (raw > 0).any()
    np.testing.assert_array_equal(item["depth"][0].numpy(), raw / 256)
    np.testing.assert_array_equal(item["valid"][0].numpy(), raw > 0)
    colour = np.asarray(Image.open(frame.image))[8:, 8:72]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    back = item["image"].permute(1, 2, 0) * std + mean
    np.testing.assert_allclose(back.numpy() * 255, colour, atol=1e-3)


def test_the_window_of_the_benchmark(tmp_path: Path) -> None:
    """Rows 23 to 375 and columns 13 to 1229 of a frame of 375x1242, for image and truth alike."""
    depth = np.arange(375 * 1242, dtype=np.float32).reshape(375, 1242)
    image = np.repeat((depth % 251)[..., None], 3, 2).astype(np.uint8)
    cut_image, cut_depth = Kitti(str(tmp_path)).fitted(image, depth, "test")
    assert cut_depth.shape == (352, 1216)
    assert cut_depth[0, 0] == 23 * 1242 + 13 and cut_depth[-1, -1] == 374 * 1242 + 1228
    np.testing.assert_array_equal(cut_image[..., 0], cut_depth % 251)


def test_both_layouts_hold_the_same_items(tree: Path, tmp_path: Path) -> None:
    other = kitti.write(tmp_path / "readme", 15, HEIGHT, WIDTH, layout="readme")
    one, two = source(tree), source(other)
    for split in ("train", "holdout", "test"):
        pairs = list(zip(one.dataset(split), two.dataset(split), strict=True))
        assert pairs
        assert all(torch.equal(a[key], b[key]) for a, b in pairs for key in a)


def test_the_training_list_can_be_generated(tree: Path) -> None:
    assert source(tree, lists=None).frames("train") == source(tree).frames("train")
    (tree / "lists" / TRAIN_LIST).unlink()
    assert source(tree).frames("holdout") == source(tree, lists=None).frames("holdout")


def test_eigens_drives() -> None:
    """33 for training; the lists of Godard et al. give them 23 488 images, 10 a drive without truth."""
    assert len(set(EIGEN_TRAIN_DRIVES)) == 33 and 23_488 - 10 * 33 == 23_158
    assert not set(kitti.TEST) & set(EIGEN_TRAIN_DRIVES)
    assert set(kitti.TRAIN) <= set(EIGEN_TRAIN_DRIVES)
    assert len(set(OFFICIAL_VAL_DRIVES)) == 13


def test_images_without_truth_are_dropped_and_counted_once(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = source(tree)
    assert len(data.dataset("test")) == 5
    assert len(data.dataset("test")) == 5
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"Skipped: 1 of 6 images in {TEST_LIST}, which have no ground truth."]


def test_the_list_without_them_will_do(tree: Path) -> None:
    safe = tree / "lists" / "eigen_test_files_with_gt_safe.txt"
    (tree / "lists" / TEST_LIST).rename(safe)
    safe.write_text("".join(safe.read_text().splitlines(keepends=True)[1:]))
    assert len(source(tree).dataset("test")) == 5


def test_validation_takes_whole_drives(tree: Path) -> None:
    data = source(tree, validation=0.5)
    groups = {split: {frame.group for frame in data.frames(split)} for split in ("train", "holdout")}
    assert groups["train"] and groups["holdout"]
    assert not groups["train"] & groups["holdout"]
    assert len(data.frames("train")) + len(data.frames("holdout")) == 10
    drawn = {tuple(source(tree, validation=0.5, validation_seed=seed).frames("holdout")) for seed in range(8)}
    assert len(drawn) > 1
    assert len(source(tree, validation=0.5, validation_images=1).frames("holdout")) == 1


def test_validation_stays_within_its_share() -> None:
    sizes = {"a": 500, "b": 30, "c": 40, "d": 60, "e": 370}
    frames = [Frame(name, Path(f"{n:04}"), Path("x")) for name, size in sizes.items() for n in range(size)]
    for seed in range(20):
        train, held = hold_out(frames, 0.1, seed, 10_000)
        assert 0 < len(held) <= 100
        assert len(train) + len(held) == 1000
    train, held = hold_out(frames, 0.001, 0, 5)
    assert {frame.group for frame in held} == {"b"}
    assert [frame.image.name for frame in held] == ["0000", "0007", "0014", "0022", "0029"]
    assert len(train) == 970
    with pytest.raises(DataError, match=r"groups .*; all are of a"):
        hold_out(frames[:500], 0.1, 0, 5)
    for share in (0.0, 1.0):
        with pytest.raises(UserError, match=r"data\.validation="):
            hold_out(frames, share, 0, 5)
    with pytest.raises(UserError, match="validation_images must be at least 1, got 0"):
        hold_out(frames, 0.1, 0, 0)


def test_the_official_split(tree: Path) -> None:
    kitti.write_selection(tree, 3, 32, 64)
    data = source(tree, split="official")
    used = {frame.group for split in ("train", "holdout") for frame in data.frames(split)}
    assert used == set(kitti.TRAIN) - set(OFFICIAL_VAL_DRIVES)
    assert len(data.dataset("test")) == 3
    assert data.dataset("test")[2]["valid"].any()
    name = "2011_09_26_drive_0002_sync_image_0000000011_image_02.png"
    (tree / "lists" / "kitti_official_valid.txt").write_text(
        f"depth_selection/val_selection_cropped/image/{name}\n"
    )
    (only,) = source(tree, split="official").frames("test")
    assert only.image.name == name
    assert only.truth.name == name.replace("sync_image", "sync_groundtruth_depth")


def test_both_cameras_serve_the_official_split(tree: Path) -> None:
    for path in (kitti.image_of, kitti.truth_of):
        left = path(tree, kitti.TRAIN[0], kitti.FIRST)
        right = path(tree, kitti.TRAIN[0], kitti.FIRST, camera="03")
        right.parent.mkdir(parents=True)
        right.write_bytes(left.read_bytes())
    images = [f.image for f in source(tree, split="official", validation=0.3).frames("train")]
    images += [f.image for f in source(tree, split="official", validation=0.3).frames("holdout")]
    assert sum("image_03" in path.parts for path in images) == 1
    eigen = source(tree).frames("train") + source(tree).frames("holdout")
    assert not any("image_03" in frame.image.parts for frame in eigen)


def test_images_stored_as_jpeg_are_found(tree: Path) -> None:
    for path in sorted(tree.glob("2011*/*/image_02/data/*.png")):
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    assert source(tree).dataset("test")[0]["image"].shape == (3, 32, 64)


def test_nothing_is_read_before_it_is_needed(tmp_path: Path) -> None:
    data = source(tmp_path / "nowhere", lists=None)
    assert data.size == (32, 64)
    images = data.dataset("train")
    with pytest.raises(DataError, match=r"missing: raw drives \(.*nowhere/raw.*, ground truth \(") as error:
        len(images)
    assert "data_depth_annotated" in error.value.hint and "+task=synthetic" in error.value.hint


def test_what_is_missing_is_named(tree: Path) -> None:
    with pytest.raises(DataError, match=r"eigen_test_files_with_gt\.txt") as error:
        source(tree, lists=None).frames("test")
    assert "Only the training list can be generated" in error.value.hint
    with pytest.raises(DataError, match="is not a folder"):
        source(tree, lists=str(tree / "listen")).frames("train")
    with pytest.raises(DataError, match="validation selection does not exist"):
        source(tree, split="official").frames("test")
    with pytest.raises(UserError, match=r"data\.split=garg"):
        source(tree, split="garg")
    kitti.image_of(tree, kitti.TEST[0], kitti.FIRST).unlink()
    with pytest.raises(DataError, match=r"eigen_test.*: 1 of 10 files are missing: .*0000000005\.png"):
        source(tree).frames("test")
    (tree / "data_depth_annotated").rename(tree / "labels")
    with pytest.raises(DataError, match=r"missing: ground truth \([^,]*\)\."):
        source(tree).frames("train")


GOOD = next(iter(kitti.lines({kitti.TRAIN[0]: 1})))
WRONG = {
    "escape": ("../../etc/passwd None 1", "contains '../../etc/passwd'"),
    "absolute": ("/etc/passwd None 1", "contains '/etc/passwd'"),
    "hidden escape": (GOOD.replace("image_02/data", "image_02/../data", 1), "not a file of this data set"),
    "other digits": (GOOD.replace("0000000005", "000000000\u0665", 1), "not a file of this data set"),
    "nul": (GOOD.replace("data/", "data\0/", 1), "NUL"),
    "one word": (GOOD.split()[0], "1 of 2 fields"),
    "another frame": (GOOD.replace("0000000005.png 721", "0000000006.png 721"), "another frame"),
    "another drive": (GOOD.replace(" 2011_09_26_drive_0001", " 2011_09_26_drive_0005"), "another frame"),
}


@pytest.mark.parametrize(("line", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_lines_are_named_by_number(tree: Path, line: str, message: str) -> None:
    (tree / "lists" / TRAIN_LIST).write_text(f"{GOOD}\n\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"{TRAIN_LIST}, line 3") as error:
        source(tree).frames("train")
    assert message in error.value.message


@pytest.mark.parametrize("text", ["", "\n\n", GOOD.split()[0] + " None 1\n"])
def test_empty_lists_are_refused(tree: Path, text: str) -> None:
    (tree / "lists" / TRAIN_LIST).write_text(text)
    with pytest.raises(DataError, match="names no image with ground truth"):
        source(tree).frames("train")


def test_long_lists_are_quick(tmp_path: Path) -> None:
    drives = {kitti.TRAIN[0]: 5000, kitti.TRAIN[1]: 5000}
    path = tmp_path / "list.txt"
    path.write_text("\n".join(kitti.lines(drives)) + "\n")
    for place in (kitti.image_of, kitti.truth_of):
        place(tmp_path, kitti.TRAIN[0], kitti.FIRST).parent.mkdir(parents=True)
        place(tmp_path, kitti.TRAIN[0], kitti.FIRST).touch()
    started = time.process_time()
    with pytest.raises(DataError, match=r"list\.txt: 19998 of 20000 files are missing"):
        KittiTree(tmp_path).listed(path)
    assert time.process_time() - started < 5


def first(tree: Path) -> Frame:
    return source(tree).frames("test")[0]


def test_truncated_files_are_named(tree: Path) -> None:
    for path in (first(tree).truth, first(tree).image):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=rf"{path.parent.name}/{path.name} is damaged"):
            source(tree).dataset("test")[0]
        path.write_bytes(whole)


def test_depth_of_eight_bits_or_colours_is_refused(tree: Path) -> None:
    path = first(tree).truth
    pixels = np.full((HEIGHT, WIDTH), 9, np.uint8)
    for array in (pixels, np.repeat(pixels[..., None], 3, 2)):
        Image.fromarray(array).save(path)
        with pytest.raises(DataError, match="is not a 16-bit depth map: it has at most 8 bits"):
            source(tree).dataset("test")[0]


def test_sizes_that_do_not_fit_are_named(tree: Path) -> None:
    with pytest.raises(DataError, match="is 40x80, smaller than the window of 64x64"):
        source(tree, height=64).dataset("test")[0]
    Image.fromarray(np.ones((HEIGHT, WIDTH - 1), np.uint16)).save(first(tree).truth)
    with pytest.raises(DataError, match=r"is 40x79, but its image .* is 40x80"):
        source(tree).dataset("test")[0]
    with pytest.raises(DataError, match="more than 100 pixels"):
        source(tree, max_pixels=100).dataset("test")[0]


def test_augmentation_is_a_function_of_seed_epoch_and_index(tree: Path) -> None:
    images = source(tree).dataset("train")
    zero = images[0]["image"]
    images.set_epoch(1)
    one = images[0]["image"]
    images.set_epoch(0)
    assert torch.equal(images[0]["image"], zero) and not torch.equal(one, zero)
    assert not torch.equal(source(tree, augment_seed=1).dataset("train")[0]["image"], zero)
    still = DepthAugment(rotation=0, flip=0, colour=0)
    plain = source(tree).dataset("train")
    plain.augment = False
    for a, b in zip(source(tree, augment=still).dataset("train"), plain, strict=True):
        # a window of 32x64 is drawn from 32x64: nothing is left to chance
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_loader_workers_read_the_same(tree: Path) -> None:
    images = pickle.loads(pickle.dumps(source(tree).dataset("train")))
    direct = [item["image"] for item in images]
    loaded = [batch["image"][0] for batch in DataLoader(images, num_workers=1)]
    assert all(torch.equal(a, b) for a, b in zip(direct, loaded, strict=True))


def test_manifests_name_what_the_items_depend_on(tree: Path) -> None:
    before = {split: source(tree).dataset(split).manifest() for split in ("train", "holdout", "test")}
    assert len(set(before.values())) == 3
    assert source(tree, validation=0.5).dataset("holdout").manifest() != before["holdout"]
    assert source(tree, width=32).dataset("test").manifest() != before["test"]
    kitti.write_frame(tree, kitti.TEST[0], kitti.FIRST, 99, (HEIGHT, WIDTH))
    assert source(tree).dataset("test").manifest() != before["test"]
    assert source(tree).dataset("train").manifest() == before["train"]


def test_the_writer_is_a_command(root: Path, tmp_path: Path) -> None:
    words = [str(tmp_path / "k"), "--images", "9", "--height", "32", "--width", "64", "--layout", "readme"]
    command = [sys.executable, "tests/trees/kitti.py", *words]
    ended = subprocess.run(
        command, cwd=root, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=True
    )
    assert f"data.root={tmp_path / 'k'}" in ended.stdout
    assert len(source(tmp_path / "k", split="official", width=32).dataset("test")) == 1


def test_lists_that_share_frames_are_refused(tree: Path) -> None:
    train = tree / "lists/eigen_train_files_with_gt.txt"
    test = tree / "lists/eigen_test_files_with_gt.txt"
    test.write_text(test.read_text() + train.read_text().splitlines()[0])
    with pytest.raises(DataError, match=r"test and (train|holdout) share 1 of \d+ images: .*0000000005\.png"):
        data = source(tree)
        data.frames("test")
        data.frames("train")


def test_an_unknown_list_is_refused_and_a_missing_one_said(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tree / "lists/eigen_train_files_with_gt.txt").rename(tree / "lists/train.txt")
    with caplog.at_level(logging.WARNING):
        assert source(tree).frames("train")
    assert "contains no eigen_train_files_with_gt.txt; it contains eigen_test_" in caplog.text
    (tree / "lists/eigen_test_files_with_gt.txt").unlink()
    with pytest.raises(DataError, match=r"contains no list of this data set .*, but train\.txt"):
        source(tree).frames("train")


def test_lossy_depth_is_refused(tree: Path) -> None:
    path = first(tree).truth
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(path, "JPEG")
    with pytest.raises(DataError, match="is a JPEG, whose compression changes numbers"):
        source(tree).dataset("test")[0]
