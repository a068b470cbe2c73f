"""CamVid: street scenes in eleven classes, in the folders of the SegNet tutorial.

Legend: C channels, H W space.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from evonas.data.augment import Array, flips, jitter_colour, normalise
from evonas.data.base import Images, Item, Split, check_size, seeded
from evonas.data.safe import image_size, open_image
from evonas.errors import DataError
from evonas.randomness import generator

CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
VOID, IGNORE = 11, 255
FOLDERS: dict[Split, str] = {"train": "train", "holdout": "val", "test": "test"}
SUFFIXES = (".png", ".jpg", ".jpeg")
# a training crop shows between the whole image and 1 / LARGEST_ZOOM of each side
LARGEST_ZOOM = 1.6
TREE = """\
<root>/train/<name>.png|jpg   <root>/trainannot/<name>.png
<root>/val/<name>.png|jpg     <root>/valannot/<name>.png
<root>/test/<name>.png|jpg    <root>/testannot/<name>.png
Masks hold class numbers 0-10, and 11 where there is none."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its mask on disk."""

    image: Path
    mask: Path


class CamVid:
    """A source of CamVid's official splits; `holdout` is the official `val`.

    Args:
        root: the folder that holds train, trainannot, val, valannot, test and testannot.
        augment_seed: decides the augmentation of `train`.
        height: of the images given to networks, a multiple of 32; likewise `width`.
        max_pixels: larger images are refused.
    """

    classes = CLASSES

    def __init__(
        self,
        root: str,
        augment_seed: int = 0,
        height: int = 160,
        width: int = 224,
        max_pixels: int = 4_000_000,
    ) -> None:
        self.root = Path(root)
        self.size = check_size(height, width)
        self.augment_seed, self.max_pixels = augment_seed, max_pixels
        self._shelves: dict[str, _Shelf] = {}

    def dataset(self, split: Split) -> "CamVidImages":
        """One split; the folder is read at the first use of its length or items."""
        return CamVidImages(split, self)

    def shelf(self, split: Split) -> "_Shelf":
        """The files of a split, listed once and shared by its datasets."""
        if split not in self._shelves:
            check_tree(self.root)
            pairs = matched(self.root / FOLDERS[split], self.root / f"{FOLDERS[split]}annot")
            self._shelves[split] = _Shelf(pairs, self.max_pixels)
        return self._shelves[split]


class CamVidImages(Images):
    """Items: image (3 H W) at the source's size, classes (H W) with 255 where there is none.

    Masks keep the resolution they have on disk, so that scores do not depend on the
    network's size; training crops are cut and resized together with their masks.
    """

    def __init__(self, split: Split, source: CamVid) -> None:
        super().__init__(split)
        self._source = source

    def __len__(self) -> int:
        return len(self._source.shelf(self.split).pairs)

    def __getitem__(self, index: int) -> Item:
        index = self.position(index)
        image, mask = self._source.shelf(self.split).read(index)
        height, width = self._source.size
        if self.augment and self.split == "train":
            random = generator(self._source.augment_seed, f"augment/{self.epoch}", index)
            image, mask = _crop(image, mask, self._source.size, random)
            return _item(jitter_colour(_unit(image), random), mask)
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        return _item(_unit(np.asarray(resized)), mask)

    def manifest(self) -> str:
        """The sha256 of names and sizes in bytes; pixels are not read."""
        shelf, source = self._source.shelf(self.split), self._source
        head = seeded(source="camvid", split=self.split, size=source.size)
        files = (path for pair in shelf.pairs for path in (pair.image, pair.mask))
        lines = [f"{path.relative_to(source.root).as_posix()} {path.stat().st_size}" for path in files]
        return hashlib.sha256("\n".join([head, *lines]).encode()).hexdigest()


def check_tree(root: Path) -> None:
    """Refuse a root without the six folders, showing what was expected and what is missing."""
    expected = [root / name for split in FOLDERS.values() for name in (split, f"{split}annot")]
    missing = [str(folder) for folder in expected if not folder.is_dir()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(
            f"CamVid is not in {root}; missing: {', '.join(missing[:3])}{more}.",
            f"Set data.root=<root>, where:\n{TREE}",
        )


def matched(images: Path, masks: Path) -> list[Pair]:
    """Images paired with masks of the same name, sorted; anything without a partner is a DataError."""
    pictures, labels = _by_name(images), _by_name(masks)
    for name in sorted(pictures.keys() ^ labels.keys()):
        alone, other = (pictures[name], masks) if name in pictures else (labels[name], images)
        raise DataError(f"{alone} has no partner in {other}.", f"Add {other / name}.png, or remove the file.")
    if not pictures:
        raise DataError(f"{images} holds no images ({', '.join(SUFFIXES)}).", f"Expected:\n{TREE}")
    return [Pair(pictures[name], labels[name]) for name in sorted(pictures)]


def _by_name(folder: Path) -> dict[str, Path]:
    """Image files by name without suffix; hidden files are skipped."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in found:
            raise DataError(f"{path} and {found[path.stem]} have the same name.", "Remove one of them.")
        found[path.stem] = path
    return found


class _Shelf:
    """The pairs of one split; each is decoded once and kept as uint8."""

    def __init__(self, pairs: list[Pair], max_pixels: int) -> None:
        self.pairs, self._max_pixels = pairs, max_pixels
        self._size = image_size(pairs[0].image, max_pixels)
        self._read: dict[int, tuple[Pixels, Pixels]] = {}

    def read(self, index: int) -> tuple[Pixels, Pixels]:
        """Image H W 3 and mask H W, in which 255 means no class."""
        if index not in self._read:
            pair = self.pairs[index]
            image = np.asarray(open_image(pair.image, self._max_pixels).convert("RGB"))
            mask = read_mask(pair.mask, self._max_pixels)
            for path, array in ((pair.image, image), (pair.mask, mask)):
                if array.shape[:2] != self._size:
                    found, wanted = (f"{h}x{w}" for h, w in (array.shape[:2], self._size))
                    raise DataError(f"{path} is {found}, others are {wanted}.", "Use images of one size.")
            self._read[index] = image, mask
        return self._read[index]


def read_mask(path: Path, max_pixels: int) -> Pixels:
    """Class numbers H W with void turned into 255; colours or larger numbers are a DataError."""
    image = open_image(path, max_pixels)
    if image.mode not in ("L", "P"):
        raise DataError(
            f"{path} holds colours (mode {image.mode}), not class numbers.",
            "Use the masks of the SegNet tutorial: one channel, 0-11.",
        )
    mask = np.asarray(image).astype(np.uint8)
    if mask.max(initial=0) > VOID:
        raise DataError(f"{path} holds class {mask.max()}; the largest is {VOID} (void).", "Check the mask.")
    return np.where(mask == VOID, np.uint8(IGNORE), mask)


def _crop(
    image: Pixels, mask: Pixels, size: tuple[int, int], random: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """A random window of the image's own shape, perhaps mirrored, resized to `size`."""
    height, width = mask.shape
    zoom = random.uniform(1.0, LARGEST_ZOOM)
    h, w = height / zoom, width / zoom
    top, left = random.uniform(0, height - h), random.uniform(0, width - w)
    box = (left, top, left + w, top + h)
    target = size[1], size[0]
    picture = np.asarray(Image.fromarray(image).resize(target, Image.Resampling.BILINEAR, box=box))
    labels = np.asarray(Image.fromarray(mask).resize(target, Image.Resampling.NEAREST, box=box))
    return (picture[:, ::-1], labels[:, ::-1]) if flips(random) else (picture, labels)


def _unit(image: Pixels) -> Array:
    return image.astype(np.float32) / 255


def _item(image: Array, mask: Pixels) -> Item:
    return {"image": normalise(image), "classes": torch.from_numpy(mask.astype(np.int64))}
