"""Images in one folder per class, the layout of ImageNet-1k and torchvision's ImageFolder."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from evonas.data.classification.augment import Views
from evonas.data.classification.base import LabelledImageSource, Part
from evonas.data.io.folders import counted, list_images, warn_of_skipped
from evonas.data.io.pictures import SUFFIXES, open_picture
from evonas.data.io.safe import MAX_PIXELS, composed
from evonas.data.io.split_lists import refuse_shared
from evonas.errors import DataError, UserError

log = logging.getLogger(__name__)

TREE = """\
<root>/train/<class>/<name>.JPEG|jpg|png
<root>/val/<class>/<name>.JPEG|jpg|png
Classes are numbered in the order of their folders' names."""


class ImageFolder(LabelledImageSource):
    """A source of folders, one per class; `test` is the folder `val`, `holdout` a part of `train`.

    Args:
        root: folder of the two folders.
        num_classes: number of class folders in `train`.
        train: name of the training folder, which may be `.`.
        test: name of the test folder; None to take the test split from the training folder.
        test_share: share of each class in that test split, which is independent of `seed`.
        max_pixels: larger images are refused.
        views, seed, augment_seed, validation, validation_groups: see `LabelledImageSource`.

    Raises:
        UserError: test_share or validation is outside (0, 1).
    """

    def __init__(
        self,
        root: str,
        num_classes: int,
        views: Views,
        train: str = "train",
        test: str | None = "val",
        seed: int = 0,
        augment_seed: int = 0,
        validation: float = 0.02,
        test_share: float = 0.2,
        max_pixels: int = MAX_PIXELS,
        validation_groups: str | int | None = None,
    ) -> None:
        super().__init__(num_classes, views, seed, augment_seed, validation, validation_groups)
        self.root, self.max_pixels = Path(root), max_pixels
        if not 0 < test_share < 1:
            raise UserError(
                f"data.test_share must be in (0, 1), got {test_share}.", "Try data.test_share=0.2."
            )
        self._test_share = test_share if test is None else None
        self._folders: dict[Part, Path] = {"train": self.root / train, "test": self.root / (test or train)}
        self._shelves: dict[Part, FileShelf] = {}
        self._names: tuple[str, ...] = ()

    def class_names(self) -> Sequence[str]:
        """The names of the class folders of `train`."""
        if not self._names:
            names = [composed(folder.name) for folder in class_folders(self._folders["train"])]
            if len(names) != self.num_classes:
                raise DataError(
                    f"{self._folders['train']} contains {len(names)} classes, not {self.num_classes}.",
                    f"Set data.num_classes={len(names)}, or complete the folder.",
                )
            self._names = tuple(names)
        return self._names

    def shelf(self, part: Part) -> "FileShelf":
        """The files of a part, listed once.

        Raises:
            DataError: training and test images are in one folder, or as `listed`.
        """
        if part not in self._shelves:
            train, test = (self._folders[each].resolve() for each in ("train", "test"))
            if train == test and self._test_share is None:
                raise DataError(
                    f"The training and the test images are both those of {train}.",
                    "Use another folder, or data.test=null to take a part of every class as test images.",
                )
            numbers = {name: number for number, name in enumerate(self.class_names())}
            levels = 0 if self.grouping is None else self.grouping.levels
            shelf = listed(self._folders[part], numbers, self.max_pixels, levels)
            if self._test_share is None:
                for other, before in self._shelves.items():
                    refuse_shared(before.paths, shelf.paths, (other, part))
                self._shelves[part] = shelf
            else:
                tested = self.held_out(shelf, self._test_share, seed=0)
                self._shelves["test"] = shelf.chosen(np.flatnonzero(tested).tolist())
                self._shelves["train"] = shelf.chosen(np.flatnonzero(~tested).tolist())
        return self._shelves[part]


class FileShelf:
    """Image files, sorted by class and name."""

    def __init__(self, folder: Path, names: Sequence[str], labels: Sequence[int], max_pixels: int) -> None:
        self.labels = np.asarray(labels, dtype=np.int64)
        self._folder, self._names, self._max_pixels = folder, names, max_pixels

    def open(self, place: int) -> Image.Image:
        """Decode one image."""
        return open_picture(self._folder / self._names[place], self._max_pixels)

    def chosen(self, places: Sequence[int]) -> "FileShelf":
        """A subset, in the given order."""
        names = [self._names[place] for place in places]
        return FileShelf(self._folder, names, self.labels[list(places)].tolist(), self._max_pixels)

    @property
    def paths(self) -> Iterator[Path]:
        """The files."""
        return (self._folder / name for name in self._names)

    def name(self, place: int) -> str:
        """The path of an image below the folder."""
        return self._names[place]

    def file(self, place: int) -> Path:
        """The file of an image."""
        return self._folder / self._names[place]

    def describe(self, place: int) -> str:
        """Name and size in bytes."""
        return f"{self._names[place]} {(self._folder / self._names[place]).stat().st_size}"


def listed(folder: Path, numbers: dict[str, int], max_pixels: int, levels: int = 0) -> FileShelf:
    """The images in class folders; class ids are given by the folders' names.

    Other files, and folders in class folders, are skipped with one warning; classes without a folder are warned of.

    Args:
        folder: folder of the class folders.
        numbers: class ids by name, in composed spelling.
        max_pixels: larger images are refused.
        levels: how many folders deep images are looked for in the folder of a class.

    Raises:
        DataError: a class is unknown, or its folder has no images.
    """
    names: list[str] = []
    labels: list[int] = []
    skipped: list[Path] = []
    for each in class_folders(folder):
        number = numbers.get(composed(each.name))
        if number is None:
            raise DataError(f"The class {each} has no training images.", f"Expected:\n{TREE}")
        listing = list_images(each, levels)
        if not listing.images:
            found = counted(listing.skipped) if listing.skipped else "nothing"
            raise DataError(
                f"The class {each} has no images ({', '.join(SUFFIXES)}); its folder contains {found}.",
                "Convert its images to PNG or JPEG, or remove the folder.",
            )
        names += [path.relative_to(folder).as_posix() for path in listing.images]
        labels += [number] * len(listing.images)
        skipped += listing.skipped
    warn_of_skipped(skipped, folder)
    absent = sorted(numbers.keys() - {composed(name.partition("/")[0]) for name in names})
    if absent:
        shown = ", ".join(absent[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
        log.warning("%s has no images of %d of %d classes: %s.", folder, len(absent), len(numbers), shown)
    return FileShelf(folder, names, labels, max_pixels)


def class_folders(folder: Path) -> list[Path]:
    """The subfolders of a folder, sorted by name; hidden ones are skipped.

    Raises:
        DataError: there is none, or two are one folder by a symbolic link.
    """
    if not folder.is_dir():
        raise DataError(f"Folder {folder} does not exist.", f"Set data.root=<root>, where:\n{TREE}")
    found = sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    if not found:
        raise DataError(f"{folder} contains no class folders.", f"Sort the images into:\n{TREE}")
    place_of: dict[Path, Path] = {}
    for each in found:
        other = place_of.setdefault(each.resolve(), each)
        if other != each:
            raise DataError(f"The classes {other} and {each} are one folder.", "Remove the link.")
    return found
