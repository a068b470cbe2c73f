"""Contract of data: a source of three splits, each a deterministic list of items.

Legend: C channels, H W space.

A source is cheap to build: it opens no file and renders nothing before the length or an item of a split is read.
`source.dataset(split)` may be called repeatedly; the datasets share what was read, but each has its own epoch and
`augment` switch. Item `i` is a pure function of the source's arguments, of `i` and, on `train` with `augment`, of
(augment_seed, epoch, i): never of a global generator or the order of access. Images are float32, normalised, of the
source's size (augmented ones of its crop size, if it has one). Splits are disjoint; `holdout` is the validation split.
`manifest` is a sha256 of everything the items depend on except augmentation, so equal manifests mean equal data.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor
from torch.utils.data import Dataset

from evonas.errors import DataError, UserError

Split = Literal["train", "holdout", "test"]
SPLITS: tuple[Split, ...] = ("train", "holdout", "test")
Item = dict[str, Tensor]


class Images(Dataset[Item]):
    """One split: a list of items whose augmentation depends on the epoch.

    Args:
        split: train, holdout or test; only `train` is augmented.
    """

    def __init__(self, split: Split) -> None:
        if split not in SPLITS:
            raise UserError(f"The split '{split}' is unknown.", f"Choose one of: {', '.join(SPLITS)}.")
        self.split = split
        self.augment = split == "train"
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the augmentation; running loader workers are not affected."""
        self.epoch = epoch

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> Item:
        raise NotImplementedError

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))

    def manifest(self) -> str:
        """The sha256 of everything the items depend on except augmentation."""
        raise NotImplementedError

    def position(self, index: int) -> int:
        """The non-negative index; raises IndexError if it is out of range, which ends a plain `for` loop."""
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"item {index} of a {self.split} split of {size}")
        return index % size


@runtime_checkable
class Source(Protocol):
    """See the module's contract; `size` is the height and width of all images in pixels."""

    size: tuple[int, int]

    def dataset(self, split: Split) -> Images: ...


def check_size(height: int, width: int) -> tuple[int, int]:
    """The image size; a UserError unless both sides are positive multiples of 32 (the largest stride)."""
    if height < 32 or width < 32 or height % 32 or width % 32:
        raise UserError(
            f"Image sides must be multiples of 32, got {height}x{width}.",
            "Use multiples of 32, for example data.height=64 data.width=96.",
        )
    return height, width


def split_sizes(most: int, **sizes: int) -> dict[Split, int]:
    """Sizes by split of generated data; a UserError unless each is in [1, most]."""
    for split in SPLITS:
        if not 1 <= sizes[split] <= most:
            raise UserError(
                f"data.{split} must be in [1, {most}], got {sizes[split]}.", f"Try data.{split}=64."
            )
    return {split: sizes[split] for split in SPLITS}


def seeded(**values: Any) -> str:
    """A line of text with values by key, sorted by key; used in manifests."""
    return " ".join(f"{key}={values[key]}" for key in sorted(values))


def file_size(path: Path) -> int:
    """The size of a listed file in bytes, for manifests; a DataError if there is none."""
    try:
        return path.stat().st_size
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}.", "Complete the data, or correct its list."
        ) from error


def manifest_of(**values: Any) -> str:
    """The sha256 of `seeded`: the manifest of data that are determined by a few values."""
    return hashlib.sha256(seeded(**values).encode()).hexdigest()
