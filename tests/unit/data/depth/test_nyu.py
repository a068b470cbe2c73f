"""NYU Depth v2 in its true folders, written by tests/trees/nyu.py; and real frames where they are at hand."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from trees import nyu

from evonas.data.depth.nyu import Nyu, room
from evonas.errors import DataError, UserError

REAL = Path(__file__).parents[5] / "shared" / "images" / "open3d_rgbd"
HEIGHT, WIDTH = 32, 64


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return nyu.write(tmp_path / "nyu", 15, HEIGHT, WIDTH)


def source(tree: Path, **options: Any) -> Nyu:
    return Nyu(str(tree), **{"height": 32, "width": 64, "border": None, **options})


def test_items_are_the_files_in_metres(tree: Path) -> None:
    data = source(tree)
    frame, item = data.frames("test")[0], data.dataset("test")[0]
    raw = np.asarray(Image.open(frame.truth))
    assert raw.dtype == np.uint16 and (raw > 0).any()
    np.testing.assert_array_equal(item["depth"][0].numpy(), raw.astype(np.float32) / 1000)
    np.testing.assert_array_equal(item["valid"][0].numpy(), raw > 0)
    assert item["image"].shape == (3, 32, 64)
    assert not all(item["valid"].all() for item in data.dataset("test"))


def test_lists_layouts_and_folders_agree(tree: Path, tmp_path: Path) -> None:
    other = source(nyu.write(tmp_path / "readme", 15, HEIGHT, WIDTH, layout="readme"))
    for split in ("train", "holdout", "test"):
        frames = source(tree).frames(split)
        assert frames == source(tree, lists=str(tree / "lists")).frames(split)
        assert [frame.image.name for frame in frames] == [frame.image.name for frame in other.frames(split)]
    assert len(source(tree).frames("test")) == 5


def test_lists_with_leading_slashes_are_read(tree: Path) -> None:
    path = tree / "lists" / "nyudepthv2_test_files_with_gt.txt"
    rows = [f"/{a} /{b} {c}" for a, b, c in (line.split() for line in path.read_text().splitlines())]
    path.write_text("\n".join(rows[:3]))
    assert len(source(tree, lists=str(tree / "lists")).frames("test")) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../x/rgb_00000.jpg ../x/sync_depth_00000.png 1", "not a file of this data set"),
        ("bathroom/rgb_00000.jpg office/sync_depth_00000.png 1", "another frame"),
        ("bathroom/rgb_00000.jpg bathroom/sync_depth_00001.png 1", "another frame"),
        ("bathroom/rgb_00000.jpg", "1 of 2 fields"),
    ],
)
def test_wrong_lines_are_named_by_number(tree: Path, line: str, message: str) -> None:
    path = tree / "lists" / "nyudepthv2_test_files_with_gt.txt"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=r"test_files_with_gt\.txt, line 6") as error:
        source(tree, lists=str(tree / "lists")).frames("test")
    assert message in error.value.message


def test_recordings_of_one_room_stay_together(tree: Path) -> None:
    assert [room(name) for name in ("kitchen_0029b", "kitchen_0029", "bathroom")] == [
        "kitchen_0029",
        "kitchen_0029",
        "bathroom",
    ]
    for seed in range(6):
        data = source(tree, validation=0.5, validation_seed=seed)
        scenes = [{f.image.parent.name for f in data.frames(split)} for split in ("train", "holdout")]
        assert not scenes[0] & scenes[1]
        assert any({"kitchen_0029a", "kitchen_0029b"} <= part for part in scenes)


def test_training_depth_is_forgotten_outside_the_border(tree: Path) -> None:
    """The published one keeps rows 45:472 and columns 43:608; scored depth keeps everything."""
    image, depth = np.zeros((480, 640, 3), np.uint8), np.ones((480, 640), np.float32)
    data = Nyu("nowhere")
    _, known = data.fitted(image, depth, "train")
    rows, columns = np.nonzero(known)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (45, 471, 43, 607)
    assert known.sum() == (472 - 45) * (608 - 43) and depth.all()
    for split in ("holdout", "test"):
        assert data.fitted(image, depth, split)[1].all()
    small = source(tree, border=[4, 30, 2, 60])
    images = small.dataset("train")
    images.augment = False
    assert not images[0]["valid"][0, :4].any() and images[0]["valid"].any()
    assert small.dataset("train").manifest() != source(tree).dataset("train").manifest()


def test_a_border_that_does_not_fit_is_refused(tree: Path) -> None:
    with pytest.raises(DataError, match="exceeds frames of 32x64"):
        source(tree, border=[45, 472, 43, 608]).dataset("train")[0]
    for border in ([5, 5, 0, 9], [1, 2, 3]):
        with pytest.raises(UserError, match="is empty"):
            source(tree, border=border)


def test_larger_frames_are_cut_at_random_for_training_and_in_the_middle_for_scores(tree: Path) -> None:
    data = source(tree, width=32)
    raw = np.asarray(Image.open(data.frames("test")[0].truth)).astype(np.float32)[:, 16:48] / 1000
    np.testing.assert_array_equal(data.dataset("test")[0]["depth"][0].numpy(), raw)
    images = data.dataset("train")
    seen = set()
    for epoch in range(6):
        images.set_epoch(epoch)
        assert images[0]["depth"].shape == (1, 32, 32)
        seen.add(float(images[0]["depth"].sum()))
    assert len(seen) == 6


def test_missing_folders_and_files_are_named(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing: .*nowhere/sync\.") as error:
        len(source(tmp_path / "nowhere").dataset("train"))
    assert "data.root=<root>" in error.value.hint
    with pytest.raises(DataError, match=r"official_splits/test or .*nowhere/test"):
        source(tmp_path / "nowhere").frames("test")
    source(tree).frames("test")[0].image.unlink()
    with pytest.raises(DataError, match="1 of 10 files are missing"):
        source(tree).frames("test")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real frames are not here")
def test_real_frames_go_through_the_same_reader(tmp_path: Path) -> None:
    """Redwood's frames as they are, and NYU's pair, whose depth is big-endian PGM, as the published PNG."""
    scene = tmp_path / "sync" / "living_room_0001"
    scene.mkdir(parents=True)
    for number in range(5):
        (scene / f"rgb_{number:05}.jpg").write_bytes((REAL / "color" / f"{number:05}.jpg").read_bytes())
        (scene / f"sync_depth_{number:05}.png").write_bytes(
            (REAL / "depth" / f"{number:05}.png").read_bytes()
        )
    other = tmp_path / "sync" / "office_0001"
    other.mkdir()
    Image.open(REAL / "other_formats" / "NYU_color.png").save(other / "rgb_00000.png")
    pgm = np.asarray(Image.open(REAL / "other_formats" / "NYU_depth.pgm")).astype(np.uint16)
    Image.fromarray(pgm).save(other / "sync_depth_00000.png")
    data = Nyu(str(tmp_path))
    assert (len(data.dataset("train")), len(data.dataset("holdout"))) == (5, 1)
    for split in ("train", "holdout"):
        for item in data.dataset(split):
            assert item["image"].shape == (3, 480, 640) and torch.isfinite(item["image"]).all()
            assert 0.4 < item["valid"].float().mean() <= 1
    metres = [item["depth"][item["valid"]] for item in data.dataset("train")]
    assert all(float(depth.min()) > 0.3 and float(depth.max()) < 10 for depth in metres)
    raw = np.asarray(Image.open(scene / "sync_depth_00000.png"))[45:472, 43:608]
    plain = data.dataset("train")
    plain.augment = False
    inside = plain[0]["depth"][0, 45:472, 43:608].numpy()
    np.testing.assert_allclose(inside, raw / 1000, rtol=1e-6)


def test_a_folder_of_unknown_lists_is_refused(tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "nyu_train.txt").touch()
    with pytest.raises(
        DataError, match=r"contains no list of this data set \(nyudepthv2_.*, but nyu_train\.txt"
    ):
        source(tree, lists=str(folder)).frames("train")


def test_a_list_that_is_left_out_is_said(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "nyudepthv2_test_files_with_gt.txt").touch()
    (folder / "mine.txt").touch()
    with caplog.at_level(logging.WARNING):
        assert source(tree, lists=str(folder)).frames("train")
    assert "contains no nyudepthv2_train_files_with_gt_dense.txt or" in caplog.text
    assert "it contains mine.txt, nyudepthv2_test_files_with_gt.txt" in caplog.text


def test_images_without_depth_are_counted(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = source(tree, lists=None).frames("test")[0]
    first.truth.unlink()
    with caplog.at_level(logging.WARNING):
        assert first not in source(tree, lists=None).frames("test")
    assert "Skipped: 1 of 5 images in" in caplog.text and "no depth map" in caplog.text
