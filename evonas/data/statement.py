"""What data say about themselves before anything is trained: the files of every split, and the classes that occur.

A class that never occurs cannot be learned, and a score without it says nothing about it. Counting reads ground truth
alone, and stops as soon as every class was seen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from evonas.data.base import Images, Split
from evonas.data.examined import Examinable, spread
from evonas.data.io.pictures import is_deep
from evonas.data.io.split_lists import MissingFilesError
from evonas.errors import DataError

SPLIT_NAMES = {"train": "training", "holdout": "validation", "test": "test"}
# images of each split that are read before a training
_LOOKED_AT = 4
# names of classes in one message
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """How often each class occurs in a split.

    Args:
        names: class names in the order of their ids.
        counts: number of `unit`s of each class among the images that were read.
        unit: what is counted: pixel, object or image.
        read: number of images whose ground truth was read; counting stops when every class was seen.
        total: number of images in the split.
        hint: what to type where the numbers in the files suggest that they mean other classes; else empty.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    unit: str
    read: int
    total: int
    hint: str = ""

    @property
    def absent(self) -> tuple[str, ...]:
        """The names of the classes that did not occur."""
        return tuple(name for name, count in zip(self.names, self.counts, strict=True) if not count)

    @property
    def is_too_few(self) -> bool:
        """Whether all images were read and show too few classes to learn; beside objects there is the background."""
        least = 1 if self.unit == "object" else 2
        return self.read == self.total and len(self.names) - len(self.absent) < least

    def sentence(self, split: Split) -> str:
        """Names the classes that do not occur in the images of a split; empty if all do."""
        absent = self.absent
        if not absent:
            return ""
        shown = ", ".join(absent[:_SHOWN]) + (
            f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
        )
        which = f"{self.total}" if self.read == self.total else f"{self.read} of {self.total}"
        verb = "has" if len(absent) == 1 else "have"
        what = f"in the {which} {SPLIT_NAMES[split]} images"
        return f"{len(absent)} of {len(self.names)} classes {verb} no {self.unit} {what}: {shown}."


@dataclass(frozen=True, slots=True)
class DepthCounts:
    """What the depth maps of a split contain.

    Args:
        measured: share of the pixels that have a depth.
        within: share of these whose depth is between the limits.
        quantiles: 1 %, 50 % and 99 % of the measured depths in metres; empty without any.
        limits: least and largest depth that counts, in metres.
        read, total: number of images whose depth was read, and of all.
    """

    measured: float
    within: float
    quantiles: tuple[float, ...]
    limits: tuple[float, float]
    read: int
    total: int

    @classmethod
    def of(
        cls, depths: NDArray[np.floating], limits: tuple[float, float], read: int, total: int
    ) -> "DepthCounts":
        """Counts depths in metres, 0 where unknown."""
        known = depths[depths > 0]
        if not len(known):
            return cls(0.0, 0.0, (), limits, read, total)
        within = (known >= limits[0]) & (known <= limits[1])
        quantiles = tuple(float(each) for each in np.quantile(known, (0.01, 0.5, 0.99)))
        return cls(len(known) / len(depths), float(within.mean()), quantiles, limits, read, total)

    def sentence(self, split: Split) -> str:
        """Says that few or no depths can be learned from; empty if most can."""
        which = f"the {self.total}" if self.read == self.total else f"{self.read} of the {self.total}"
        what = f"{which} {SPLIT_NAMES[split]} depth maps"
        if not self.quantiles:
            return f"No pixel of {what} has a depth."
        if self.within >= _MOST_WITHIN:
            return ""
        low, middle, high = self.quantiles
        least, most = self.limits
        return (
            f"{1 - self.within:.0%} of the depths in {what} lie outside {least:g} to {most:g} m: their median is "
            f"{middle:.4g} m, and 98 % are from {low:.4g} to {high:.4g} m."
        )


DEPTH_SCALE = (
    "data.scale is the number in a file that means one metre: 1000 for millimetres, 256 in KITTI's files, 1 for "
    "metres; data.min_depth and data.max_depth are in metres."
)
# below this share of usable depths the scale is probably wrong
_MOST_WITHIN = 0.8


@dataclass(frozen=True, slots=True)
class DeepImages:
    """What images of 16 bits use of them; only the upper 8 are read.

    Args:
        count: number of images.
        brightest: largest upper byte of all.
    """

    count: int = 0
    brightest: int = 0

    def with_one(self, picture: NDArray[np.uint8]) -> "DeepImages":
        """Counts one more, of which `picture` shows the upper bytes."""
        return DeepImages(self.count + 1, max(self.brightest, int(picture.max(initial=0))))

    def sentence(self, split: Split) -> str:
        """Says that they are dark, because their numbers do not reach the upper bits; empty if they are not."""
        if not self.count or self.brightest >= _BRIGHT:
            return ""
        bits = 8 + self.brightest.bit_length()
        return (
            f"The {self.count} {SPLIT_NAMES[split]} images of 16 bits that were looked at use {bits} of them at most: "
            f"their brightest pixel shows as {self.brightest} of 255."
        )


DEEP_FIX = (
    "Multiply their numbers so that they fill 16 bits, or save them with 8 bits; all files by one factor."
)
# images of 16 bits that show no brighter pixel hold numbers of 14 bits or fewer
_BRIGHT = 64


@runtime_checkable
class CountsDepths(Protocol):
    """A dataset of depth maps."""

    def depth_counts(self) -> DepthCounts: ...


@runtime_checkable
class CountsClasses(Protocol):
    """A dataset of classes: segmentation, detection or classification."""

    def class_counts(self) -> ClassCounts: ...


def check_splits(dataset: Callable[[Split], Images], needs_test: bool) -> list[str]:
    """Looks for the files of all splits, counts the classes of two, and reads a few images of each; returns warnings.

    This is the quick part of `stage=check`, which looks at all images.

    Args:
        dataset: gives a split, as sources and tasks do.
        needs_test: whether the test split will be read, so that it must be complete; otherwise a test split that
            cannot be read is a warning, except for files that a list names and that are missing.

    Raises:
        DataError: files are missing, splits share images, the training images show too few classes to learn, or one
            of the images that are read cannot be used.
    """
    warnings: list[str] = []
    train = dataset("train")
    splits: tuple[tuple[Split, Images], ...] = (("train", train), ("holdout", dataset("holdout")))
    for split, images in splits:
        if not len(images):
            continue
        if isinstance(images, CountsDepths):
            depths = images.depth_counts()
            sentence = depths.sentence(split)
            if split == "train" and not depths.within:
                raise DataError(f"{sentence} There is nothing to learn.", DEPTH_SCALE)
            if sentence:
                warnings.append(f"{sentence} {DEPTH_SCALE}")
        if not isinstance(images, CountsClasses):
            continue
        counts = images.class_counts()
        sentence = counts.sentence(split)
        if split == "train" and counts.is_too_few:
            raise DataError(
                f"{sentence} There is nothing to learn.",
                counts.hint or "Check the ground truth and the classes of the data.",
            )
        if sentence:
            warnings.append(f"{sentence} {counts.hint}".strip())
    for _, images in splits:
        warnings += _look_at_some(images)
    try:
        test = dataset("test")
        if len(test) and needs_test:
            test.manifest()
            # the first item shows formats and sizes that do not fit
            test[0]
            warnings += _look_at_some(test)
    except MissingFilesError:
        raise
    except DataError as error:
        if needs_test:
            raise
        warnings.append(f"The test split, which stage=evaluate reads, is not there: {error.message}")
    return warnings


def _look_at_some(images: Images) -> list[str]:
    """Reads a few evenly spaced items from files, and says what is odd about them.

    Raises:
        DataError: one of them cannot be used.
    """
    if not isinstance(images, Examinable):
        return []
    deep = DeepImages()
    for place in spread(len(images), _LOOKED_AT):
        try:
            images[place]
            found = images.examine(place)
        except DataError as error:
            hint = f"{error.hint} To see all that is wrong with the data: stage=check"
            raise DataError(error.message, hint.strip()) from error
        if found.file is not None and found.picture is not None and is_deep(found.file):
            deep = deep.with_one(found.picture)
    sentence = deep.sentence(images.split)
    return [f"{sentence} {DEEP_FIX}"] if sentence else []
