"""Pairs on disk, an image and its truth: what depth maps and masks have in common.

A source keeps nothing but its lists and decodes an item when it is asked for. Data sets
differ in where their pairs lie; `holdout` is cut from the training pairs unless there is
an official one.
"""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from evonas.data.base import Images, Split, check_size, seeded
from evonas.data.io.split_lists import Frame, hold_out
from evonas.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class Cut:
    """How `holdout` is cut from the training pairs, between whole groups.

    Args:
        share: of the training pairs.
        seed: which of them; keep it fixed to compare runs on the same data.
        images: at most so many held-out pairs are scored, evenly spaced.
    """

    share: float = 0.05
    seed: int = 0
    images: int = 650


class PairSource(ABC):
    """The lists of a data set, read once and shared by its datasets.

    Args:
        root: the folder of the data set.
        height: of the images given to networks, a multiple of 32; likewise `width`.
        cut: makes `holdout` where the data set has none.
        augment_seed: decides the augmentation of `train`.
        max_pixels: larger images are refused.
    """

    name: str

    def __init__(
        self, root: str, height: int, width: int, cut: Cut, augment_seed: int, max_pixels: int
    ) -> None:
        self.root, self.size = Path(root), check_size(height, width)
        self.cut, self.augment_seed, self.max_pixels = cut, augment_seed, max_pixels
        self._frames: dict[Split, list[Frame]] = {}

    @abstractmethod
    def training_frames(self) -> list[Frame]:
        """Everything that may be trained on, frames to be held out included; reads the disk."""

    @abstractmethod
    def test_frames(self) -> list[Frame]:
        """The published test split; reads the disk."""

    def holdout_frames(self) -> list[Frame] | None:
        """An official holdout, no part of the training frames; None where it must be cut from them."""
        return None

    def frames(self, split: Split) -> list[Frame]:
        """The frames of a split in the order of their groups and names, listed once and shared."""
        if split not in self._frames:
            self._list(split)
        return self._frames[split]

    def _list(self, split: Split) -> None:
        if split == "test":
            self._frames[split] = sorted(self.test_frames())
            return
        official = self.holdout_frames()
        if official is None:
            parts = hold_out(self.training_frames(), self.cut.share, self.cut.seed, self.cut.images)
            self._frames["train"], self._frames["holdout"] = parts
        else:
            self._frames[split] = sorted(official if split == "holdout" else self.training_frames())

    def details(self) -> dict[str, object]:
        """What else decides the items of a data set, for its manifest."""
        return {}


S = TypeVar("S", bound=PairSource)


class PairImages(Images, Generic[S]):
    """A split of pairs; each access decodes, so memory does not grow with the data set."""

    def __init__(self, split: Split, source: S) -> None:
        super().__init__(split)
        self._source = source

    def __len__(self) -> int:
        return len(self._source.frames(self.split))

    def frame(self, index: int) -> Frame:
        """The pair of an item."""
        return self._source.frames(self.split)[self.position(index)]

    def manifest(self) -> str:
        """The sha256 of names and sizes in bytes, and of what cuts them; pixels are not read."""
        source = self._source
        head = seeded(source=source.name, split=self.split, size=source.size, **source.details())
        files = (path for frame in source.frames(self.split) for path in (frame.image, frame.truth))
        lines = [f"{path.relative_to(source.root).as_posix()} {path.stat().st_size}" for path in files]
        return hashlib.sha256("\n".join([head, *lines]).encode()).hexdigest()


def matched(images: Path, truths: Path, layout: str) -> list[Frame]:
    """Images paired with truths of the same name, each a group of its own.

    Args:
        layout: says in messages which files are expected.

    Raises:
        DataError: a file without a partner, or nothing at all.
    """
    pictures, labels = _by_name(images), _by_name(truths)
    for name in sorted(pictures.keys() ^ labels.keys()):
        alone, other = (pictures[name], truths) if name in pictures else (labels[name], images)
        raise DataError(f"{alone} has no partner in {other}.", f"Add {other / name}.png, or remove the file.")
    if not pictures:
        raise DataError(f"{images} contains no images ({', '.join(SUFFIXES)}).", f"Expected:\n{layout}")
    return [Frame(name, pictures[name], labels[name]) for name in sorted(pictures)]


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


def spelt(shape: tuple[int, ...]) -> str:
    """Height and width as messages name them."""
    return f"{shape[0]}x{shape[1]}"
