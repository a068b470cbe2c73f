"""Writes a small set in COCO's true folders: bright rectangles and ellipses on a dark ground.

python tests/trees/coco.py <folder> --train 8 --test 4 --height 64 --width 96
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("square", "disc")
# ids have gaps, as COCO's have
IDENTITIES = {"square": 3, "disc": 7}
COLOURS = {"square": (230, 60, 60), "disc": (60, 200, 90)}


def write(root: Path, train: int = 8, test: int = 4, height: int = 64, width: int = 96) -> Path:
    """Both parts; the last training picture has no object, the first test picture has a crowd."""
    for part, count in (("train2017", train), ("val2017", test)):
        random = np.random.default_rng(len(part))
        images, annotations = [], []
        for place in range(count):
            name = f"{place:012d}.jpg"
            empty = part == "train2017" and place == count - 1
            found = _picture(root / part / name, random, height, width, 0 if empty else 2)
            images.append({"id": 100 + place, "file_name": name, "height": height, "width": width})
            for entry in found:
                annotations.append({**entry, "id": len(annotations) + 1, "image_id": 100 + place})
        if part == "val2017":
            annotations.append(_crowd(len(annotations) + 1, height, width))
        document = {"images": images, "annotations": annotations, "categories": categories()}
        path = root / "annotations" / f"instances_{part}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document), encoding="utf-8")
    return root


def categories() -> list[dict[str, Any]]:
    """As COCO has them."""
    return [{"id": number, "name": name, "supercategory": "shape"} for name, number in IDENTITIES.items()]


def _picture(
    path: Path, random: np.random.Generator, height: int, width: int, count: int
) -> list[dict[str, Any]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (width, height), (20, 20, 40))
    draw, entries = ImageDraw.Draw(image), []
    for column in range(count):
        name = CLASSES[int(random.integers(2))]
        side = int(random.integers(height // 4, height // 2))
        left = column * width // 2 + int(random.integers(0, width // 2 - side))
        top = int(random.integers(0, height - side))
        box = (left, top, left + side - 1, top + side - 1)
        (draw.rectangle if name == "square" else draw.ellipse)(box, fill=COLOURS[name])
        entries.append(_entry(name, left, top, side))
    image.save(path, quality=95)
    return entries


def _entry(name: str, left: int, top: int, side: int) -> dict[str, Any]:
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=float)
    if name == "disc":
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        corners = 0.5 + 0.5 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    polygon = (corners * side + [left, top]).round(2)
    return {
        "category_id": IDENTITIES[name],
        "bbox": [left, top, side, side],
        "area": side * side * (1.0 if name == "square" else np.pi / 4),
        "iscrowd": 0,
        "segmentation": [polygon.flatten().tolist()],
    }


def _crowd(identity: int, height: int, width: int) -> dict[str, Any]:
    """The upper left corner, as run lengths by columns."""
    high, wide = height // 8, width // 8
    counts = [0]
    for _ in range(wide):
        counts += [high, height - high]
    counts[-1] += height * (width - wide)
    return {
        "id": identity,
        "image_id": 100,
        "category_id": IDENTITIES["disc"],
        "bbox": [0, 0, wide, high],
        "area": wide * high,
        "iscrowd": 1,
        "segmentation": {"size": [height, width], "counts": counts},
    }


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    for name, default in (("train", 8), ("test", 4), ("height", 64), ("width", 96)):
        parser.add_argument(f"--{name}", type=int, default=default)
    words = parser.parse_args()
    print(write(words.folder, words.train, words.test, words.height, words.width))


if __name__ == "__main__":
    main()
