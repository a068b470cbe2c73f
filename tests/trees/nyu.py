"""Writes a small NYU Depth v2 in its true folders, names and formats, with its lists.

python tests/trees/nyu.py <folder> --images 24 --height 96 --width 128 [--layout readme]
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

if __package__:
    from trees.rooms import pair, save_depth, spread
else:
    from rooms import pair, save_depth, spread

UNITS = 1000.0
# the kinect sees no farther, and nothing nearer
NEAREST, FARTHEST = 0.5, 9.99
TRAIN = ("bedroom_0130", "kitchen_0029a", "kitchen_0029b", "office_0004", "study_room_0005b")
TEST = ("bathroom", "office")
TEST_FOLDER = {"configs": "official_splits/test", "readme": "test"}
FOCAL = 518.8579


def write(root: Path, images: int = 24, height: int = 96, width: int = 128, layout: str = "configs") -> Path:
    """A third of the images for testing; the lists lie in <root>/lists."""
    train = dict(zip(TRAIN, spread(images - images // 3, len(TRAIN)), strict=True))
    test = dict(zip(TEST, spread(images // 3, len(TEST)), strict=True))
    number = 0
    rows: dict[str, list[str]] = {}
    for place, counts in (("sync", train), (TEST_FOLDER[layout], test)):
        for scene, count in counts.items():
            for index in range(count):
                write_frame(root / place, scene, index, number, (height, width))
                rows.setdefault(place, []).append(line(scene, index, place == "sync"))
                number += 1
    (root / "lists").mkdir(exist_ok=True)
    lists = root / "lists" / "nyudepthv2_{}.txt"
    Path(str(lists).format("train_files_with_gt_dense")).write_text("\n".join(rows["sync"]) + "\n")
    Path(str(lists).format("test_files_with_gt")).write_text("\n".join(rows[TEST_FOLDER[layout]]) + "\n")
    return root


def line(scene: str, index: int, dense: bool) -> str:
    """A line of a list: image, depth, and the dense depth or the focal length, which nobody reads."""
    third = f"{scene}/dense/sync_depth_dense_{index:05}.png" if dense else f"{FOCAL}"
    return f"{scene}/rgb_{index:05}.jpg {scene}/sync_depth_{index:05}.png {third}"


def write_frame(place: Path, scene: str, index: int, number: int, size: tuple[int, int]) -> None:
    """One image and its depth, picture `number` of the renderer, in rooms a third as large."""
    rgb, depth = pair(number, *size)
    near = depth / 3
    known = np.where((near > NEAREST) & (near < FARTHEST), near, 0).astype(np.float32)
    (place / scene).mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(place / scene / f"rgb_{index:05}.jpg", quality=95)
    save_depth(place / scene / f"sync_depth_{index:05}.png", known, UNITS)


def main() -> None:
    """Write a tree and say where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--height", type=int, default=96)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layout", choices=("configs", "readme"), default="configs")
    given = parser.parse_args()
    root = write(given.folder, given.images, given.height, given.width, given.layout)
    print(f"data.root={root} data.lists={root / 'lists'}")


if __name__ == "__main__":
    main()
