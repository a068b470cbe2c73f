"""Writes a small KITTI in its true folders, names and formats, with lists of Eigen's kind.

python tests/trees/kitti.py <folder> --images 24 --height 120 --width 400 [--layout readme]
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

if __package__:
    from trees.rooms import pair, save_depth, spread
else:
    from rooms import pair, save_depth, spread

UNITS = 256.0
TRAIN = (
    "2011_09_26_drive_0001_sync",
    "2011_09_26_drive_0005_sync",
    "2011_09_26_drive_0011_sync",
    "2011_09_28_drive_0001_sync",
    "2011_09_29_drive_0004_sync",
)
TEST = ("2011_09_26_drive_0002_sync", "2011_10_03_drive_0047_sync")
# below depth/val in KITTI's own folders
VALIDATION = ("2011_09_26_drive_0002_sync", "2011_09_26_drive_0005_sync", "2011_10_03_drive_0047_sync")
# ground truth starts with the sixth image of a drive
FIRST = 5
# of the pixels that a laser of 64 lines hits
HIT = 0.2
FOCAL = 721.5377


def write(root: Path, images: int = 24, height: int = 120, width: int = 400, layout: str = "configs") -> Path:
    """A third of the images for testing; `layout` is `configs` (flat) or `readme` (raw and depth).

    The lists lie in <root>/lists; the test list has one more image, without ground truth.
    """
    counts = dict(zip(TEST, spread(images // 3, len(TEST)), strict=True))
    counts |= dict(zip(TRAIN, spread(images - images // 3, len(TRAIN)), strict=True))
    number = 0
    for drive, count in counts.items():
        for index in range(FIRST, FIRST + count):
            write_frame(root, drive, index, number, (height, width), layout)
            number += 1
    bare = image_of(root, TEST[0], 0, layout)
    Image.fromarray(pair(number, height, width)[0]).save(bare)
    write_lists(root / "lists", counts)
    return root


def write_frame(
    root: Path, drive: str, index: int, number: int, size: tuple[int, int], layout: str = "configs"
) -> None:
    """One image and its sparse depth, picture `number` of the renderer."""
    rgb, depth = pair(number, *size)
    hit = np.random.default_rng(number).random(depth.shape) < HIT
    image, truth = image_of(root, drive, index, layout), truth_of(root, drive, index, layout)
    for path in (image, truth):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(image)
    save_depth(truth, np.where(hit, depth, 0).astype(np.float32), UNITS)


def image_of(root: Path, drive: str, index: int, layout: str = "configs", camera: str = "02") -> Path:
    """Where an image lies."""
    raw = root / "raw" if layout == "readme" else root
    return raw / drive[:10] / drive / f"image_{camera}" / "data" / f"{index:010}.png"


def truth_of(root: Path, drive: str, index: int, layout: str = "configs", camera: str = "02") -> Path:
    """Where its depth lies."""
    place = root / "data_depth_annotated"
    if layout == "readme":
        place = root / "depth" / ("val" if drive in VALIDATION else "train")
    return place / drive / "proj_depth" / "groundtruth" / f"image_{camera}" / f"{index:010}.png"


def write_lists(folder: Path, counts: dict[str, int]) -> None:
    """Eigen's lists of both splits: image, ground truth or None, focal length."""
    folder.mkdir(parents=True, exist_ok=True)
    train = list(lines({drive: counts[drive] for drive in TRAIN}))
    test = list(lines({drive: counts[drive] for drive in TEST}))
    bare = f"{TEST[0][:10]}/{TEST[0]}/image_02/data/{0:010}.png None {FOCAL}"
    (folder / "eigen_train_files_with_gt.txt").write_text("\n".join(train) + "\n")
    (folder / "eigen_test_files_with_gt.txt").write_text("\n".join([bare, *test]) + "\n")


def lines(counts: dict[str, int]) -> Iterator[str]:
    """Lines of a list, drive by drive."""
    for drive, count in counts.items():
        for index in range(FIRST, FIRST + count):
            image = f"{drive[:10]}/{drive}/image_02/data/{index:010}.png"
            yield f"{image} {drive}/proj_depth/groundtruth/image_02/{index:010}.png {FOCAL}"


def write_selection(root: Path, images: int = 3, height: int = 120, width: int = 400) -> Path:
    """The official validation selection, images and truth of one size."""
    place = root / "depth_selection" / "val_selection_cropped"
    (place / "image").mkdir(parents=True)
    (place / "groundtruth_depth").mkdir()
    for index in range(images):
        rgb, depth = pair(1000 + index, height, width)
        stem = "2011_09_26_drive_0002_sync_{}_" + f"{8 + 3 * index:010}_image_02.png"
        Image.fromarray(rgb).save(place / "image" / stem.format("image"))
        save_depth(place / "groundtruth_depth" / stem.format("groundtruth_depth"), depth, UNITS)
    return place


def main() -> None:
    """Write a tree and say where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--height", type=int, default=120)
    parser.add_argument("--width", type=int, default=400)
    parser.add_argument("--layout", choices=("configs", "readme"), default="configs")
    given = parser.parse_args()
    root = write(given.folder, given.images, given.height, given.width, given.layout)
    write_selection(root, max(given.images // 6, 1), given.height, given.width)
    print(f"data.root={root} data.lists={root / 'lists'}")


if __name__ == "__main__":
    main()
