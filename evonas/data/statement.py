"""What data say about themselves before anything is trained: the files of every split, and the classes that occur.

A class that never occurs cannot be learned, and a score without it says nothing about it. Counting reads ground truth
alone, and stops as soon as every class was seen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from evonas.data.base import Images, Split
from evonas.data.io.split_lists import MissingFilesError
from evonas.errors import DataError

_SPLIT_NAMES = {"train": "training", "holdout": "validation", "test": "test"}
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
        what = f"in the {which} {_SPLIT_NAMES[split]} images"
        return f"{len(absent)} of {len(self.names)} classes {verb} no {self.unit} {what}: {shown}."


@runtime_checkable
class CountsClasses(Protocol):
    """A dataset of classes: segmentation, detection or classification."""

    def class_counts(self) -> ClassCounts: ...


def check_splits(dataset: Callable[[Split], Images], needs_test: bool) -> list[str]:
    """Looks for the files of all splits and counts the classes of two; returns warnings.

    Args:
        dataset: gives a split, as sources and tasks do.
        needs_test: whether the test split will be read, so that it must be complete; otherwise a test split that
            cannot be read is a warning, except for files that a list names and that are missing.

    Raises:
        DataError: files are missing, splits share images, or the training images show too few classes to learn.
    """
    warnings: list[str] = []
    train = dataset("train")
    splits: tuple[tuple[Split, Images], ...] = (("train", train), ("holdout", dataset("holdout")))
    for split, images in splits:
        if not len(images) or not isinstance(images, CountsClasses):
            continue
        counts = images.class_counts()
        sentence = counts.sentence(split)
        # of objects one class is enough, because the rest of an image is its background
        least = 1 if counts.unit == "object" else 2
        is_too_few = len(counts.names) - len(counts.absent) < least and counts.read == counts.total
        if split == "train" and is_too_few:
            raise DataError(
                f"{sentence} There is nothing to learn.",
                counts.hint or "Check the ground truth and the classes of the data.",
            )
        if sentence:
            warnings.append(f"{sentence} {counts.hint}".strip())
    try:
        test = dataset("test")
        if len(test) and needs_test:
            test.manifest()
            # the first item shows formats and sizes that do not fit
            test[0]
    except MissingFilesError:
        raise
    except DataError as error:
        if needs_test:
            raise
        warnings.append(f"The test split, which stage=evaluate reads, is not there: {error.message}")
    return warnings
