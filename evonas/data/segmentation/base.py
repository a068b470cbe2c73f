"""Base of segmentation sources: images with masks of class ids.

Legend: C channels, H W space.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from evonas.data.augment import Array, normalise
from evonas.data.base import Item, Split
from evonas.data.io.pairs import PairImages, PairSource, dimensions
from evonas.data.io.safe import open_image
from evonas.data.io.split_lists import Frame
from evonas.errors import DataError
from evonas.randomness import generator

IGNORE = 255
# entry of a `table` for raw values that are no class
UNKNOWN = -1

Pixels = NDArray[np.uint8]
Table = NDArray[np.int16]


class MaskSource(PairSource):
    """A source of images with a class id per pixel; `classes` are their names in the order of the ids."""

    classes: Sequence[str]

    @abstractmethod
    def numbers(self, mask: Image.Image, path: Path) -> Pixels:
        """Class ids H W of a decoded mask, 255 where pixels are ignored; see `looked_up`."""

    @abstractmethod
    def training(self, image: Pixels, mask: Pixels, random: np.random.Generator) -> Item:
        """An augmented training item."""

    @abstractmethod
    def whole(self, image: Pixels, mask: Pixels) -> Item:
        """The item for evaluation."""

    def dataset(self, split: Split) -> "MaskImages":
        """One split; the disk is read on first use of its length or items."""
        return MaskImages(split, self)

    def decoded(self, frame: Frame) -> tuple[Pixels, Pixels]:
        """Image H W 3 and class ids H W of a pair."""
        image = np.asarray(open_image(frame.image, self.max_pixels).convert("RGB"))
        return image, self.numbers(open_image(frame.truth, self.max_pixels), frame.truth)

    def read(self, frame: Frame) -> tuple[Pixels, Pixels]:
        """Like `decoded`; raises a DataError if image and mask differ in size."""
        image, mask = self.decoded(frame)
        if image.shape[:2] != mask.shape:
            raise DataError(
                f"{frame.truth} is {dimensions(mask.shape)}, but its image {frame.image} is "
                f"{dimensions(image.shape)}.",
                "Replace the wrong file.",
            )
        return image, mask


class MaskImages(PairImages[MaskSource]):
    """Items: image (3 H W) and classes (H W), 255 for ignored pixels; the source determines their sizes."""

    def __getitem__(self, index: int) -> Item:
        index = self.position(index)
        source = self._source
        image, mask = source.read(self.frame(index))
        if not (self.augment and self.split == "train"):
            return source.whole(image, mask)
        random = generator(source.augment_seed, f"augment/{self.epoch}", index)
        return source.training(image, mask, random)


def table(numbers: Mapping[int, int]) -> Table:
    """A lookup table for `looked_up` from raw values to class ids (255 for ignored); other values are errors."""
    made = np.full(256, UNKNOWN, dtype=np.int16)
    for raw, number in numbers.items():
        made[raw] = number
    return made


def looked_up(mask: Image.Image, path: Path, known: Table, expected: str) -> Pixels:
    """Class ids H W of a mask with one channel of 8 bits.

    Args:
        mask: the decoded mask.
        path: path of the mask, for messages.
        known: lookup table from raw values to class ids; see `table`.
        expected: the expected content of masks, for messages.

    Raises:
        DataError: the mask has colours or an unknown value.
    """
    if mask.mode not in ("L", "P"):
        raise DataError(f"{path} contains colours (mode {mask.mode}), not class ids.", expected)
    raw = np.asarray(mask).astype(np.uint8)
    found = known[raw]
    if (found == UNKNOWN).any():
        largest = raw[found == UNKNOWN].max()
        raise DataError(f"{path} contains unknown class id {largest}.", expected)
    return found.astype(np.uint8)


def unit(image: Pixels) -> Array:
    """An 8-bit image as float32 in [0, 1]."""
    return image.astype(np.float32) / 255


def item(image: Array, mask: Pixels) -> Item:
    """The item of an image in [0, 1] and its class ids."""
    return {"image": normalise(image), "classes": torch.from_numpy(mask.astype(np.int64))}
