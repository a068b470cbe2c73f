"""Pairs of an image and its ground truth (a depth map or a mask) on disk.

A source keeps only lists of files and decodes items on access. `holdout` is a part of the training pairs, unless the
data set has an official validation split.
"""

import hashlib
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from evonas.data.base import Images, Split, check_size, file_size, seeded
from evonas.data.io.folders import list_images, listed, warn_of_skipped
from evonas.data.io.groups import grouping
from evonas.data.io.pictures import SUFFIXES, orientation_note
from evonas.data.io.safe import MAX_PIXELS, composed, read_lines
from evonas.data.io.split_lists import Folders, Frame, check_present, hold_out, refuse_shared
from evonas.errors import DataError, UserError

log = logging.getLogger(__name__)


@dataclass(eq=False)
class PairSource(ABC):
    """Base of sources of pairs; lists are read once and shared by all datasets of a source.

    Args:
        root: folder of the data set.
        height, width: size of the network's images in pixels, multiples of 32.
        validation: share of the training pairs in the validation split, cut between whole groups (drives, scenes,
            cities), or, where a source says so, the name of an official split; with an official split it is not used,
            and neither are the next two.
        validation_seed: seed of that cut; keep it fixed to compare runs on the same data.
        validation_images: maximum number of pairs in the validation split, evenly spaced.
        validation_groups: rule that names the group of an image, see `Grouping`; None for single images, or the groups
            that the data set has.
        augment_seed: seed of the augmentation of `train`.
        max_pixels: larger images are refused.
    """

    root: str
    _: KW_ONLY
    height: int = 512
    width: int = 512
    validation: float | str = 0.05
    validation_seed: int = 0
    validation_images: int = 650
    validation_groups: str | int | None = None
    augment_seed: int = 0
    max_pixels: int = MAX_PIXELS

    name: ClassVar[str]

    def __post_init__(self) -> None:
        self.folder, self.size = Path(self.root), check_size(self.height, self.width)
        self.grouping = grouping(self.validation_groups)
        self._frames: dict[Split, list[Frame]] = {}

    @abstractmethod
    def training_frames(self) -> list[Frame]:
        """All training pairs, including those of a validation split that is cut from them; reads the disk."""

    @abstractmethod
    def test_frames(self) -> list[Frame]:
        """The published test split; reads the disk."""

    def holdout_frames(self) -> list[Frame] | None:
        """The official validation split, disjoint from the training pairs; None if there is none."""
        return None

    def frames(self, split: Split) -> list[Frame]:
        """The pairs of a split, sorted by group and name, listed once and shared.

        Raises:
            DataError: the split shares images with one that was listed before.
        """
        if split not in self._frames:
            found: dict[Split, list[Frame]] = {}
            official = None if split == "test" else self.holdout_frames()
            if split == "test":
                found[split] = sorted(self._grouped(self.test_frames()))
            elif official is not None:
                frames = official if split == "holdout" else self.training_frames()
                found[split] = sorted(self._grouped(frames))
            else:
                if isinstance(self.validation, str):
                    raise UserError(
                        f"data.validation must be in (0, 1), got {self.validation}.",
                        "Try data.validation=0.05.",
                    )
                found["train"], found["holdout"] = hold_out(
                    self._grouped(self.training_frames()),
                    self.validation,
                    self.validation_seed,
                    self.validation_images,
                    self.validation_groups,
                )
            known = self._frames | found
            for one, other in combinations(known, 2):
                if other in found:
                    refuse_shared(
                        (each.image for each in known[one]),
                        (each.image for each in known[other]),
                        (one, other),
                    )
            self._frames = known
        return self._frames[split]

    def _grouped(self, frames: list[Frame]) -> list[Frame]:
        """The pairs in the groups of `validation_groups`, if that is given."""
        rule = self.grouping
        if rule is None:
            return frames
        paths = (frame.image.relative_to(self.folder).as_posix() for frame in frames)
        return [replace(frame, group=rule.group(path)) for frame, path in zip(frames, paths, strict=True)]

    def details(self) -> dict[str, object]:
        """Further settings that determine the items, for the manifest."""
        return {}


S = TypeVar("S", bound=PairSource)


class PairImages(Images, Generic[S]):
    """A split of pairs; every access decodes, so that memory does not grow with the data set."""

    def __init__(self, split: Split, source: S) -> None:
        super().__init__(split)
        self._source = source

    def __len__(self) -> int:
        return len(self._source.frames(self.split))

    def frame(self, index: int) -> Frame:
        """The pair of an item."""
        return self._source.frames(self.split)[self.position(index)]

    def named(self, frame: Frame) -> tuple[str, str | None]:
        """The path of a pair's image below the root, and its group by `validation_groups`, if that is given."""
        name = frame.image.relative_to(self._source.folder).as_posix()
        return name, None if self._source.grouping is None else frame.group

    def manifest(self) -> str:
        """The sha256 of file names, file sizes and settings; pixels are not read."""
        source = self._source
        head = seeded(source=source.name, split=self.split, size=source.size, **source.details())
        files = (path for frame in source.frames(self.split) for path in (frame.image, frame.truth))
        lines = [f"{path.relative_to(source.folder).as_posix()} {file_size(path)}" for path in files]
        return hashlib.sha256("\n".join([head, *lines]).encode()).hexdigest()


def matched(
    images: Path, truths: Path, layout: str, levels: int = 0, truth_suffixes: Sequence[str] = SUFFIXES
) -> list[Frame]:
    """The pairs of equal names in two folders, each a group of its own; hidden files are skipped.

    Names are equal if only their suffixes, or the Unicode spelling of accents, differ. Files that are not PNG or JPEG
    are skipped with one warning for each folder.

    Args:
        images: folder of the images.
        truths: folder of the ground truth.
        layout: description of the expected files, for messages.
        levels: how many folders deep files are looked for; their names include those of the folders.
        truth_suffixes: suffixes of files of ground truth, in lower case.

    Raises:
        DataError: a file has no partner, two have the same name, or there are no images.
    """
    by_name: list[dict[str, Path]] = []
    unread: dict[str, Path] = {}
    for folder, suffixes in ((images, SUFFIXES), (truths, truth_suffixes)):
        found: dict[str, Path] = {}
        listing = list_images(folder, levels, suffixes)
        for path in listing.images:
            name = _name(path, folder)
            if name in found:
                raise DataError(f"{path} and {found[name]} have the same name.", "Remove one of them.")
            found[name] = path
        by_name.append(found)
        unread |= {_name(path, folder): path for path in listing.skipped}
        expected = f"images ({' '.join(suffixes)}) are read"
        if any(path.is_dir() for path in listing.skipped):
            expected += ", and images in folders with data.validation_groups=1"
        warn_of_skipped(listing.skipped, folder, expected)
    image_of, truth_of = by_name
    for name in sorted(image_of.keys() ^ truth_of.keys()):
        alone, other = (image_of[name], truths) if name in image_of else (truth_of[name], images)
        if name in unread:
            raise DataError(
                f"{alone} has no partner in {other}: {unread[name].name} is not read.",
                "Convert it to PNG, and photographs to PNG or JPEG.",
            )
        raise DataError(f"{alone} has no partner in {other}.", f"Add {other / name}.png, or remove the file.")
    if not image_of:
        raise DataError(f"{images} contains no images ({', '.join(SUFFIXES)}).", f"Expected:\n{layout}")
    return [Frame(name, image_of[name], truth_of[name]) for name in sorted(image_of)]


def _name(path: Path, folder: Path) -> str:
    """The name of a file below a folder without its suffix, in composed spelling."""
    return composed(path.relative_to(folder).with_suffix("").as_posix())


@dataclass(frozen=True, slots=True)
class PairFolders:
    """The user's own pairs: two folders for each split, or a list for each.

    Args:
        root: base folder.
        images, truths: folders of the images and of the ground truth below it, where {split} is replaced.
        lists: folder of lists that replace the folders.
        layout: description of the expected files, for messages.
        levels: see `matched`.
        truth_suffixes: see `matched`.
    """

    root: Path
    images: str
    truths: str
    lists: str | None
    layout: str
    levels: int = 0
    truth_suffixes: Sequence[str] = SUFFIXES

    def frames(self, split: str) -> list[Frame]:
        """The pairs of a split, each a group of its own.

        Raises:
            DataError: a folder, a list or a file is missing, or pairs are ambiguous.
        UserError: a folder is not below the root, or has another placeholder than {split}.
        """
        if self.lists is not None:
            return self._listed(Path(self.lists) / f"{split}.txt")
        images, truths = (self.root / _filled(each, split) for each in (self.images, self.truths))
        for place in (images, truths):
            if not place.is_relative_to(self.root):
                raise UserError(
                    f"The folder {place} is not below data.root={self.root}.",
                    "Set data.root to a folder that contains images and ground truth.",
                )
            if not place.is_dir():
                there = sorted(each.name for each in listed(self.root, may_be_missing=True))
                content = f" {self.root} contains {', '.join(there[:5])}." if there else ""
                raise DataError(
                    f"Folder {place} does not exist.{content}", f"Set data.root=<root>, where:\n{self.layout}"
                )
        return matched(images, truths, self.layout, self.levels, self.truth_suffixes)

    def _listed(self, path: Path) -> list[Frame]:
        if not path.parent.is_dir():
            raise DataError(f"data.lists={self.lists} is not a folder.", f"Expected:\n{self.layout}")
        if not path.is_file():
            names = sorted(each.name for each in path.parent.iterdir() if not each.name.startswith("."))
            what = "is not a file" if os.path.lexists(path) else "does not exist"
            raise DataError(
                f"{path} {what}; data.lists={self.lists} contains {', '.join(names[:5]) or 'nothing'}.",
                "Name the lists <split>.txt, or say their names without the suffix: data.train=<name> data.test=<name>",
            )
        base, lines = self.root.resolve(), read_lines(path, self.root, columns=2)
        truth_of: dict[Path, Path] = {}
        for image, truth in lines:
            if image == truth:
                raise DataError(
                    f"{path} pairs {image} with itself.", "A line lists an image and its ground truth."
                )
            if truth_of.setdefault(image, truth) != truth:
                raise DataError(
                    f"{path} pairs {image} with {truth_of[image].name} and with {truth.name}.",
                    "Remove one of the lines.",
                )
        if not truth_of:
            raise DataError(f"{path} lists no images.", f"Expected:\n{self.layout}")
        if len(truth_of) < len(lines):
            log.warning(
                "Skipped: %d of %d lines in %s, which repeat others.",
                len(lines) - len(truth_of),
                len(lines),
                path,
            )
        different = len(set(truth_of.values()))
        if different < len(truth_of):
            log.warning(
                "%d images in %s have the ground truth of another image: it names %d files for %d images.",
                len(truth_of) - different,
                path,
                different,
                len(truth_of),
            )
        pairs = [[self.root / found.relative_to(base) for found in pair] for pair in truth_of.items()]
        frames = [Frame(str(image), image, truth) for image, truth in pairs]
        check_present(frames, Folders(), path.name)
        return frames


def _filled(folder: str, split: str) -> str:
    """A folder below the root with the name of the split in place of {split}."""
    found = folder.replace("{split}", split)
    if "{" in found or "}" in found:
        raise UserError(
            f"The folder {folder} has a placeholder that is not known; {{split}} is.",
            "For instance: 'data.images=\"images/{split}\"'",
        )
    return found


class NamedSplits(ABC):
    """The splits of a `PairSource` whose settings name them; the validation split is cut where it is a share."""

    train: str
    test: str
    validation: float | str

    @abstractmethod
    def pairs(self, split: str) -> list[Frame]:
        """The pairs of the split of this name; reads the disk."""

    def training_frames(self) -> list[Frame]:
        """The pairs of `train`."""
        return self.pairs(self.train)

    def holdout_frames(self) -> list[Frame] | None:
        """The pairs of `validation`, if it is a name."""
        return self.pairs(self.validation) if isinstance(self.validation, str) else None

    def test_frames(self) -> list[Frame]:
        """The pairs of `test`.

        Raises:
            DataError: they are those of `train`.
        """
        found = self.pairs(self.test)
        if found == self.pairs(self.train):
            raise DataError(
                "The test images are the training images: both splits lead to one folder or list.",
                "Put {split} where folders have the name of the split: 'data.images=\"images/{split}\"'. Or list the "
                "pairs of each: data.lists=<folder>, with train.txt and test.txt.",
            )
        return found


def dimensions(shape: tuple[int, ...]) -> str:
    """Height and width of an array as text, for messages."""
    return f"{shape[0]}x{shape[1]}"


def check_equal_sizes(frame: Frame, image: tuple[int, ...], truth: tuple[int, ...]) -> None:
    """Raises a DataError if the upright image of a pair and its ground truth, H W ..., differ in size."""
    if image[:2] != truth[:2]:
        raise DataError(
            f"{frame.truth} is {dimensions(truth)}{orientation_note(frame.truth)}, but its image {frame.image} is "
            f"{dimensions(image)}{orientation_note(frame.image)}.",
            "Replace the wrong file; both must show the same view.",
        )
