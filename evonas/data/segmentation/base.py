"""Base of segmentation sources: images with masks of class ids.

Legend: C channels, H W space.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from evonas.data.augment import Array, normalise
from evonas.data.base import Item, Split
from evonas.data.examined import Examined
from evonas.data.io.pairs import PairImages, PairSource, check_equal_sizes
from evonas.data.io.pictures import Numbers, open_numbers, open_picture
from evonas.data.io.split_lists import Frame
from evonas.data.statement import ClassCounts
from evonas.errors import DataError
from evonas.randomness import generator

IGNORE = 255
# entry of a `table` for raw values that are no class
UNKNOWN = -1

Pixels = NDArray[np.uint8]
Table = NDArray[np.int16]
Stored = Numbers | Pixels
# masks that are read at most to see which classes occur
COUNTED = 2000


class MaskSource(PairSource):
    """A source of images with a class id per pixel; `classes` are their names in the order of the ids."""

    classes: Sequence[str]

    @abstractmethod
    def class_ids(self, stored: Stored, path: Path) -> Pixels:
        """Class ids H W of the content of a mask file, 255 where pixels are ignored; see `looked_up`."""

    def stored(self, path: Path) -> Stored:
        """The content of a mask file: numbers H W, or colours H W 3."""
        return open_numbers(path, self.max_pixels)

    def hint(self, seen: set[int]) -> str:  # noqa: ARG002
        """What to type if the numbers in masks, `seen`, suggest that they mean other classes; else empty."""
        return ""

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
        return np.asarray(open_picture(frame.image, self.max_pixels)), self.class_ids(
            self.stored(frame.truth), frame.truth
        )

    def read(self, frame: Frame) -> tuple[Pixels, Pixels]:
        """Like `decoded`; raises a DataError if image and mask differ in size."""
        image, mask = self.decoded(frame)
        check_equal_sizes(frame, image.shape, mask.shape)
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

    def class_names(self) -> tuple[str, ...]:
        """The classes of the source."""
        return tuple(self._source.classes)

    def examine(self, index: int) -> Examined:
        """Image and mask at their own size; values that mean no class are counted instead of refused."""
        source, frame = self._source, self.frame(index)
        name, group = self.named(frame)
        found = Examined(name, file=frame.image, truth_file=frame.truth, group=group)
        try:
            image, mask = source.read(frame)
        except DataError as error:
            unknown, mask = self._unknown(frame)
            if not unknown:
                raise
            image = np.asarray(open_picture(frame.image, source.max_pixels))
            check_equal_sizes(frame, image.shape, mask.shape)
            found = replace(found, unknown=unknown, hint=error.hint)
        return replace(found, picture=image, classes=mask)

    def _unknown(self, frame: Frame) -> tuple[Counter[str], Pixels]:
        """Pixels by value or colour that the source refuses, and the class ids H W with these ignored."""
        source, path = self._source, frame.truth
        stored = source.stored(path)
        # one number for each colour, because rows of an array are sorted slowly
        numbers = stored if stored.ndim == 2 else stored.astype(np.int64) @ np.array([2**16, 2**8, 1])
        values, first, places, counts = np.unique(
            numbers, return_index=True, return_inverse=True, return_counts=True
        )
        colours = stored.reshape(numbers.size, -1)[first]
        unknown, ids = Counter[str](), np.full(len(values), IGNORE, dtype=np.uint8)
        for number, (colour, count) in enumerate(zip(colours, counts.tolist(), strict=True)):
            single = colour.reshape((1, 1) if stored.ndim == 2 else (1, 1, -1))
            try:
                ids[number] = source.class_ids(single, path)[0, 0]
            except DataError:
                unknown[" ".join(map(str, colour.tolist()))] += count
        return unknown, ids[places.ravel()].reshape(stored.shape[:2])

    def class_counts(self) -> ClassCounts:
        """Pixels of each class in masks, read in random order until every class was seen or `COUNTED` were read."""
        source, frames = self._source, self._source.frames(self.split)
        names, seen, read = tuple(source.classes), set[int](), 0
        counts = np.zeros(len(names), dtype=np.int64)
        for place in generator(0, "class_counts").permutation(len(frames))[:COUNTED].tolist():
            path, read = frames[place].truth, read + 1
            stored = source.stored(path)
            ids = source.class_ids(stored, path)
            counts += np.bincount(ids[ids != IGNORE], minlength=len(names))
            if counts.all():
                break
            if stored.ndim == 2:
                seen.update(np.flatnonzero(np.bincount(stored.ravel())).tolist())
        hint = "" if counts.all() or not seen else source.hint(seen)
        return ClassCounts(names, tuple(counts.tolist()), "pixel", read, len(frames), hint)


def table(numbers: Mapping[int, int], others: int = UNKNOWN) -> Table:
    """A lookup table for `looked_up` from raw values of up to 16 bits to class ids (255 for ignored).

    Args:
        numbers: class ids by raw value.
        others: class id of all other values; `UNKNOWN` makes them errors.
    """
    made = np.full(2**16, others, dtype=np.int16)
    for raw, number in numbers.items():
        made[raw] = number
    return made


def looked_up(raw: Numbers, path: Path, known: Table, expected: str) -> Pixels:
    """Class ids H W of the numbers of a mask.

    Args:
        raw: numbers of the file, see `open_numbers`.
        path: path of the mask, for messages.
        known: lookup table from raw values to class ids; see `table`.
        expected: the expected content of masks, for messages.

    Raises:
        DataError: the mask has an unknown value.
    """
    found = known[raw]
    if (found == UNKNOWN).any():
        unknown = [str(each) for each in np.unique(raw[found == UNKNOWN])]
        shown = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        raise DataError(f"{path} contains unknown class id{'s' * (len(unknown) > 1)} {shown}.", expected)
    return found.astype(np.uint8)


def unit(image: Pixels) -> Array:
    """An 8-bit image as float32 in [0, 1]."""
    return image.astype(np.float32) / 255


def item(image: Array, mask: Pixels) -> Item:
    """The item of an image in [0, 1] and its class ids."""
    return {"image": normalise(image), "classes": torch.from_numpy(mask.astype(np.int64))}
