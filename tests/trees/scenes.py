"""Writes small copies of ADE20K, Cityscapes and ImageNet in their true folders, names and formats.

python tests/trees/scenes.py ade20k|cityscapes|imagenet <folder> [--images 12]
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

# heights and widths that take turns, as ADE20K has them
SIZES = ((48, 64), (64, 48), (40, 90))
TOWNS = {"train": ("aachen", "bochum", "zurich"), "val": ("lindau",)}


def painted(number: int, values: int, size: tuple[int, int]) -> tuple[Pixels, Pixels]:
    """A picture whose colours tell the values 0 to values - 1 of its mask, and the mask."""
    random = np.random.default_rng(number)
    coarse = random.integers(0, values, (4, 5), dtype=np.uint8)
    rows = np.arange(size[0]) * 4 // size[0]
    mask = coarse[rows][:, np.arange(size[1]) * 5 // size[1]]
    colours = np.random.default_rng(0).integers(0, 256, (values, 3))
    noise = random.integers(-10, 10, (*size, 3))
    return np.clip(colours[mask] + noise, 0, 255).astype(np.uint8), mask


def ade20k(root: Path, images: int = 12) -> Path:
    """Three quarters for training; masks hold 0 (anything else) to 150."""
    for number in range(images):
        part, short = ("training", "train") if number % 4 else ("validation", "val")
        image, mask = painted(number, 151, SIZES[number % len(SIZES)])
        for kind, suffix, pixels in (("images", "jpg", image), ("annotations", "png", mask)):
            folder = root / "ADEChallengeData2016" / kind / part
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"ADE_{short}_{number:08}.{suffix}")
    return root


def cityscapes(root: Path, images: int = 12, kind: str = "labelIds") -> Path:
    """As many of every town; masks hold label numbers 0-33, or those of training."""
    for part, towns in TOWNS.items():
        for town in towns:
            for index in range(images // 4):
                number = index + 100 * sum(map(ord, town))
                image, mask = painted(number, 34 if kind == "labelIds" else 19, (64, 128))
                stem = f"{town}_{index:06}_000019"
                for place, name, pixels in (
                    ("leftImg8bit", f"{stem}_leftImg8bit.png", image),
                    ("gtFine", f"{stem}_gtFine_{kind}.png", mask),
                ):
                    folder = root / place / part / town
                    folder.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(folder / name)
    return root


def imagenet(root: Path, images: int = 12) -> Path:
    """Three classes that their colours tell; a third of the pictures for `val`."""
    for label, wnid in enumerate(("n01440764", "n01443537", "n01484850")):
        for index in range(images // 3):
            part = "val" if index % 3 == 0 else "train"
            folder = root / part / wnid
            folder.mkdir(parents=True, exist_ok=True)
            image, _ = painted(1000 * label + index, 2 + label, (70, 80))
            Image.fromarray(image).save(folder / f"{wnid}_{index}.JPEG")
    return root


WRITERS = {"ade20k": ade20k, "cityscapes": cityscapes, "imagenet": imagenet}


def main() -> None:
    """Write a tree and say where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", choices=WRITERS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=12)
    given = parser.parse_args()
    print(f"data.root={WRITERS[given.name](given.folder, given.images)}")


if __name__ == "__main__":
    main()
