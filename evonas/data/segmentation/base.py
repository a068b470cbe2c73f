"""Images with a mask of class numbers on disk: what all segmentation data has in common.

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
from evonas.data.io.pairs import PairImages, PairSource, spelt
from evonas.data.io.safe import open_image
from evonas.data.io.split_lists import Frame
from evonas.errors import DataError
from evonas.randomness import generator

IGNORE = 255
# raw values of a mask that no table knows
UNKNOWN = -1

Pixels = NDArray[np.uint8]
Table = NDArray[np.int16]


class MaskSource(PairSource):
    """A source of pairs whose truth is a class for every pixel; `classes` names them by number."""

    classes: Sequence[str]

    @abstractmethod
    def numbers(self, mask: Image.Image, path: Path) -> Pixels:
        """The classes H W that a decoded mask shows, 255 where there is none; see `looked_up`."""

    @abstractmethod
    def training(self, image: Pixels, mask: Pixels, random: np.random.Generator) -> Item:
        """An augmented item."""

    @abstractmethod
    def whole(self, image: Pixels, mask: Pixels) -> Item:
        """The item that scores are taken on."""

    def dataset(self, split: Split) -> "MaskImages":
        """One split; the disk is read at the first use of its length or items."""
        return MaskImages(split, self)

    def decoded(self, frame: Frame) -> tuple[Pixels, Pixels]:
        """Image H W 3 and classes H W of one pair."""
        image = np.asarray(open_image(frame.image, self.max_pixels).convert("RGB"))
        return image, self.numbers(open_image(frame.truth, self.max_pixels), frame.truth)

    def read(self, frame: Frame) -> tuple[Pixels, Pixels]:
        """As `decoded`, refused where the two differ in size."""
        image, mask = self.decoded(frame)
        if image.shape[:2] != mask.shape:
            raise DataError(
                f"{frame.truth} is {spelt(mask.shape)}, its image {frame.image} is {spelt(image.shape)}.",
                "Replace the file that does not belong to the other.",
            )
        return image, mask


class MaskImages(PairImages[MaskSource]):
    """Items: image (3 H W) and classes (H W) with 255 where there is none; sizes are the source's affair."""

    def __getitem__(self, index: int) -> Item:
        index = self.position(index)
        source = self._source
        image, mask = source.read(self.frame(index))
        if not (self.augment and self.split == "train"):
            return source.whole(image, mask)
        random = generator(source.augment_seed, f"augment/{self.epoch}", index)
        return source.training(image, mask, random)


def table(numbers: Mapping[int, int]) -> Table:
    """What `looked_up` reads, from raw values to class numbers (255 for none); others are refused."""
    made = np.full(256, UNKNOWN, dtype=np.int16)
    for raw, number in numbers.items():
        made[raw] = number
    return made


def looked_up(mask: Image.Image, path: Path, known: Table, expected: str) -> Pixels:
    """Class numbers H W of a mask with one channel of 8 bits.

    Args:
        path: of the mask, for messages.
        known: from raw values to numbers; see `table`.
        expected: says in a message what the mask should hold.

    Raises:
        DataError: it holds colours, or a value that is no class.
    """
    if mask.mode not in ("L", "P"):
        raise DataError(f"{path} holds colours (mode {mask.mode}), not class numbers.", expected)
    raw = np.asarray(mask).astype(np.uint8)
    found = known[raw]
    if (found == UNKNOWN).any():
        largest = raw[found == UNKNOWN].max()
        raise DataError(f"{path} contains unknown class id {largest}.", expected)
    return found.astype(np.uint8)


def unit(image: Pixels) -> Array:
    """8 bits as float32 in [0, 1]."""
    return image.astype(np.float32) / 255


def item(image: Array, mask: Pixels) -> Item:
    """An item of an image in [0, 1] and its classes."""
    return {"image": normalise(image), "classes": torch.from_numpy(mask.astype(np.int64))}
