"""Windows in sequences: the manifest follows cameras and pictures."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from trees import posed as tree

from evonas.data.views.video_windows import Layout, Sequences
from evonas.errors import DataError


def nerf(folder: Path) -> Path:
    for part, name in (("train", "a"), ("train", "b"), ("test", "c")):
        tree.write_transforms(folder / part / name)
    return folder


def colmap(folder: Path) -> Path:
    for part, name in (("train", "a"), ("train", "b"), ("test", "c")):
        tree.write_colmap_text(folder / part / name)
    return folder


def videos(folder: Path) -> Path:
    for part, name in (("train", "a"), ("train", "b"), ("test", "c")):
        tree.write_realestate(folder, part, name)
    return folder


def source(root: Path, layout: Layout, missing: str = "error") -> Sequences:
    return Sequences(str(root), layout, height=32, width=32, gap=(2, 3), targets=1, missing=missing)


def altered(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


@pytest.mark.parametrize(
    ("layout", "write", "cameras", "before", "after", "picture"),
    [
        (
            "transforms",
            nerf,
            "test/c/transforms.json",
            '"fl_x": 40.0',
            '"fl_x": 41.0',
            "test/c/images/001.png",
        ),
        ("colmap", colmap, "test/c/sparse/0/cameras.txt", "40.0 40.0", "41.0 40.0", "test/c/images/001.png"),
        ("realestate", videos, "test/c.txt", "0.5 0.5", "0.5 0.4", "frames/test/c/33000.png"),
    ],
)
def test_a_manifest_sees_cameras_names_and_pictures(
    tmp_path: Path,
    layout: Layout,
    write: Callable[[Path], Path],
    cameras: str,
    before: str,
    after: str,
    picture: str,
) -> None:
    root = write(tmp_path / "set")
    seen = [source(root, layout).dataset("test").manifest()]
    assert seen == [source(root, layout).dataset("test").manifest()]
    # the place of the data is no part of it
    root.rename(tmp_path / "moved")
    root = tmp_path / "moved"
    assert seen == [source(root, layout).dataset("test").manifest()]
    altered(root / cameras, before, after)
    seen.append(source(root, layout).dataset("test").manifest())
    Image.new("RGB", (tree.WIDTH, tree.HEIGHT)).save(root / picture)
    seen.append(source(root, layout).dataset("test").manifest())
    (root / picture).unlink()
    seen.append(source(root, layout, "skip").dataset("test").manifest())
    assert len(set(seen)) == len(seen)
    # what happens in another split is of no concern
    train = source(root, layout).dataset("train").manifest()
    altered(root / cameras, after, before)
    assert source(root, layout).dataset("train").manifest() == train


def test_windows_of_unpadded_names_hold_neighbours(tmp_path: Path) -> None:
    root = nerf(tmp_path)
    path = root / "test/c/transforms.json"
    document = json.loads(path.read_text())
    for number, frame in enumerate(document["frames"]):
        (root / f"test/c/images/{number:03}.png").rename(root / f"test/c/images/{5 * number}.png")
        frame["file_path"] = f"images/{5 * number}"
    path.write_text(json.dumps(document))
    names = [image.path.name for image in source(root, "transforms").images("test", "c")]
    assert names == ["0.png", "5.png", "10.png", "15.png", "20.png", "25.png"]


@pytest.mark.parametrize(("layout", "write"), [("transforms", nerf), ("colmap", colmap)])
def test_scenes_are_in_one_split(
    tmp_path: Path, layout: Layout, write: Callable[[Path], Path], caplog: pytest.LogCaptureFixture
) -> None:
    root = write(tmp_path)
    (root / "train/empty").mkdir()
    with caplog.at_level(logging.WARNING):
        data = source(root, layout)
        assert [len(data.names(split)) for split in ("train", "holdout", "test")] == [1, 1, 1]
    assert caplog.text.count("Skipped: 1 folder in") == 1 and "such as empty; expected are" in caplog.text
    # scenes of one name in other folders are other scenes, a link is the same folder
    (root / "test/c").rename(root / "test/a")
    source(root, layout).names("test")
    (root / "test").rename(root / "gone")
    (root / "test").symlink_to(root / "train")
    data.names("train")
    data = source(root, layout)
    data.names("test")
    with pytest.raises(DataError, match=r"splits train and test share 2 of 2 sequences: .*train/a"):
        data.names("train")


def test_a_video_is_in_one_split(tmp_path: Path) -> None:
    root = videos(tmp_path)
    tree.write_realestate(root, "test", "b")
    data = source(root, "realestate")
    data.names("train")
    with pytest.raises(DataError, match=r"splits train and test share 1 of 2 sequences: b\."):
        data.names("test")
