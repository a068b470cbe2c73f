"""Depth maps of the user's own, written here as cameras and programs write them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import exif
from PIL import Image

from evonas.data.augment import denormalise
from evonas.data.depth.augment import DepthAugment
from evonas.data.depth.depth_folders import DepthFolders
from evonas.data.statement import check_splits
from evonas.errors import DataError, UserError

HEIGHT, WIDTH = 48, 80
# metres of the left and the right half
NEAR, FAR = 1.25, 6.5


def stored(scale: float, dtype: type = np.uint16) -> np.ndarray:
    numbers = np.full((HEIGHT, WIDTH), NEAR * scale)
    numbers[:, WIDTH // 2 :] = FAR * scale
    return numbers.astype(dtype)


def write(root: Path, numbers: np.ndarray, kind: str = "png", train: int = 6, test: int = 2) -> Path:
    for split, count in (("train", train), ("test", test)):
        for folder in ("images", "depth"):
            (root / folder / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = np.full((HEIGHT, WIDTH, 3), 40 * number, np.uint8)
            pixels[:, WIDTH // 2 :] += 20
            Image.fromarray(pixels).save(
                root / "images" / split / f"clip{number // 2}_{number}.jpg", quality=95
            )
            path = root / "depth" / split / f"clip{number // 2}_{number}.{kind}"
            if kind == "npy":
                np.save(path, numbers)
            else:
                Image.fromarray(numbers).save(path)
    return root


def source(root: Path, **options: Any) -> DepthFolders:
    return DepthFolders(str(root), **{"height": 32, "width": 64, "validation": 0.4, **options})


@pytest.mark.parametrize(
    ("kind", "scale", "dtype"),
    [
        ("png", 1000, np.uint16),
        ("png", 256, np.uint16),
        ("tiff", 1000, np.uint16),
        ("tif", 1, np.float32),
        ("npy", 1, np.float32),
        ("npy", 1000, np.uint16),
        ("npy", 0.001, np.float64),
    ],
)
def test_every_kind_of_file_is_read_in_metres(tmp_path: Path, kind: str, scale: float, dtype: type) -> None:
    data = source(write(tmp_path, stored(scale, dtype), kind), scale=scale)
    image, depth = data.decoded(data.frames("train")[0])
    assert image.shape == (HEIGHT, WIDTH, 3) and depth.dtype == np.float32
    np.testing.assert_allclose(depth[:, : WIDTH // 2], NEAR, rtol=1e-6)
    np.testing.assert_allclose(depth[:, WIDTH // 2 :], FAR, rtol=1e-6)
    for split in ("train", "holdout", "test"):
        item = data.dataset(split)[0]
        assert item["image"].shape == (3, 32, 64) and item["depth"].shape == item["valid"].shape == (
            1,
            32,
            64,
        )


def test_pairs_are_scaled_to_cover_the_window_and_cropped_in_the_centre(tmp_path: Path) -> None:
    data = source(write(tmp_path, stored(1000)))
    item = data.dataset("test")[0]
    # 48x80 becomes 38x64, so that rows are cropped and the border between the halves stays in the middle
    np.testing.assert_allclose(item["depth"][0, :, :32], NEAR)
    np.testing.assert_allclose(item["depth"][0, :, 32:], FAR)
    pixels = denormalise(item["image"][None])[0]
    assert abs(int(pixels[16, 10, 0]) - 0) <= 3 and abs(int(pixels[16, 54, 0]) - 20) <= 3
    assert item["valid"].all()


def test_small_images_are_enlarged(tmp_path: Path) -> None:
    data = source(write(tmp_path, stored(1000)), height=96, width=96)
    assert data.dataset("train")[0]["depth"].shape == (1, 96, 96)


def test_unknown_numbers_and_depths_outside_the_limits_are_not_valid(tmp_path: Path) -> None:
    numbers = stored(1000)
    numbers[:8], numbers[8:16] = 0, 65535
    data = source(write(tmp_path, numbers), invalid=[65535], height=32, width=64, max_depth=6.0)
    depth = data.decoded(data.frames("test")[0])[1]
    assert (depth[:16] == 0).all() and (depth[16:] > 0).all()
    item = data.dataset("test")[0]
    assert item["valid"][0, 20:, :32].all() and not item["valid"][0, :, 32:].any()
    assert not source(tmp_path, invalid=65535, min_depth=2.0).dataset("test")[0]["valid"][0, :, :32].any()


def test_floats_that_are_not_finite_or_negative_are_unknown(tmp_path: Path) -> None:
    numbers = stored(1, np.float32)
    numbers[0], numbers[1], numbers[2] = np.nan, np.inf, -1
    data = source(write(tmp_path, numbers, "npy"), scale=1)
    depth = data.decoded(data.frames("test")[0])[1]
    assert (depth[:3] == 0).all() and np.isfinite(depth).all() and (depth[3:] > 0).all()


def test_training_items_are_augmented_alike_each_time(tmp_path: Path) -> None:
    data = source(write(tmp_path, stored(1000)), augment=DepthAugment(rotation=5.0))
    train = data.dataset("train")
    first, again = train[0], data.dataset("train")[0]
    train.set_epoch(1)
    assert np.array_equal(first["image"], again["image"]) and not np.array_equal(
        first["image"], train[0]["image"]
    )


def test_lists_and_official_splits_replace_folders(tmp_path: Path) -> None:
    write(tmp_path, stored(1000))
    for name, split, count in (("a", "train", 6), ("b", "test", 2)):
        lines = [
            f"images/{split}/clip{n // 2}_{n}.jpg depth/{split}/clip{n // 2}_{n}.png" for n in range(count)
        ]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    data = source(tmp_path, lists=str(tmp_path), train="a", test="b")
    assert [len(data.frames(split)) for split in ("train", "holdout", "test")] == [4, 2, 2]
    official = source(tmp_path, validation="test", test="absent")
    assert [len(official.frames(split)) for split in ("train", "holdout")] == [6, 2]
    with pytest.raises(DataError, match="absent does not exist"):
        official.frames("test")


def test_manifests_say_what_the_numbers_mean(tmp_path: Path) -> None:
    write(tmp_path, stored(1000))
    options: list[dict[str, Any]] = [
        {},
        {"scale": 500.0},
        {"invalid": 1},
        {"min_depth": 0.1},
        {"max_depth": 9.0},
    ]
    assert len({source(tmp_path, **each).dataset("test").manifest() for each in options}) == len(options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.0}, r"data.scale must be positive, got 0.0"),
        ({"scale": float("nan")}, "data.scale must be positive"),
        ({"min_depth": 3.0, "max_depth": 3.0}, "must be a range in metres"),
        ({"validation_groups": 0}, "must be a number of folders from 1"),
        ({"validation_groups": "("}, "is not a regular expression"),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        source(tmp_path, **options)


def test_files_that_are_no_depth_maps_are_refused_by_name(tmp_path: Path) -> None:
    data = source(write(tmp_path, stored(1000)))
    frame = data.frames("test")[0]
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(frame.truth)
    with pytest.raises(DataError, match=f"{frame.truth.name} is not a depth map of 16 bits"):
        data.decoded(frame)
    Image.fromarray(np.zeros((HEIGHT, WIDTH // 2), np.uint16)).save(frame.truth)
    with pytest.raises(DataError, match="48x40, but its image"):
        data.decoded(frame)
    for name, array, message in (
        ("a.npy", np.zeros((2, HEIGHT, WIDTH), np.float32), r"has the shape \(2, 48, 80\)"),
        ("b.npy", np.array([["x"]], dtype=object), "not a readable .npy"),
        ("c.npy", np.zeros((4, 4), np.uint8), "at most 8 bits"),
        ("d.npy", np.zeros((4, 4), np.complex64), "complex64"),
    ):
        np.save(tmp_path / name, array, allow_pickle=True)
        with pytest.raises(DataError, match=message):
            data.measured(tmp_path / name)
    Image.new("RGB", (4, 4)).save(tmp_path / "e.tif")
    with pytest.raises(DataError, match="several channels"):
        data.measured(tmp_path / "e.tif")
    Image.fromarray(stored(1000)).save(tmp_path / "f.tif", exif=exif(6))
    with pytest.raises(DataError, match="has the orientation 6"):
        data.measured(tmp_path / "f.tif")
    (tmp_path / "g.tif").write_bytes((tmp_path / "f.tif").read_bytes()[:200])
    with pytest.raises(DataError, match=r"g\.tif"):
        data.measured(tmp_path / "g.tif")
    Image.fromarray(stored(1000)).save(
        tmp_path / "h.tif", save_all=True, append_images=[Image.new("I;16", (8, 8))]
    )
    with pytest.raises(DataError, match="an animation of 2 images"):
        data.measured(tmp_path / "h.tif")


def test_a_wrong_scale_is_said_before_training(tmp_path: Path) -> None:
    write(tmp_path, stored(1000))
    assert check_splits(source(tmp_path).dataset, needs_test=True) == []
    with pytest.raises(
        DataError, match=r"100% of the depths .* lie outside 0 to 10 m: their median is .* m"
    ) as told:
        check_splits(source(tmp_path, scale=1.0).dataset, needs_test=True)
    assert "There is nothing to learn." in told.value.message and "data.scale" in told.value.hint
    [train, held] = check_splits(source(tmp_path, max_depth=1.0, min_depth=0.1, scale=6000.0).dataset, True)
    assert "50% of the depths in the 4 training depth maps" in train and "validation" in held
    empty = tmp_path / "empty"
    with pytest.raises(DataError, match="No pixel of the 4 training depth maps has a depth"):
        check_splits(source(write(empty, stored(0))).dataset, needs_test=True)


def test_frames_of_one_video_lie_in_one_split(tmp_path: Path) -> None:
    data = source(write(tmp_path, stored(1000)), validation_groups="(clip[0-9]+)_")
    held = {frame.image.name for frame in data.frames("holdout")}
    assert {frame.group for frame in data.frames("holdout")} == {next(iter(held))[:5]} and len(held) == 2
    assert all(frame.group not in next(iter(held)) for frame in data.frames("train"))


def test_depths_beyond_all_numbers_are_unknown(tmp_path: Path) -> None:
    """Finite numbers of 64 bits that the scale makes infinite in 32 bits."""
    numbers = stored(1, np.float64)
    numbers[0], numbers[1], numbers[2], numbers[3] = 1e300, np.inf, np.nan, -1.0
    root = write(tmp_path, numbers, "npy")
    depth = source(root, scale=1, max_depth=float("inf")).measured(next(root.glob("depth/test/*.npy")))
    assert not depth[:4].any() and (depth[4:] > 0).all() and np.isfinite(depth).all()


def test_depth_maps_of_another_size_are_told_by_both_sizes(tmp_path: Path) -> None:
    for kind in ("npy", "tiff"):
        root = write(tmp_path / kind, stored(1000).T.copy(), kind)
        with pytest.raises(DataError, match=rf"clip0_0\.{kind} is 80x48, but its image .* is 48x80"):
            source(root).dataset("test")[0]
