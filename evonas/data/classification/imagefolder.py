"""Images in one folder per class, as ImageNet-1k and torchvision's ImageFolder have them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from evonas.data.classification.augment import Views
from evonas.data.classification.base import LabelledImageSource, Part, held_out
from evonas.data.io.safe import MAX_PIXELS, open_image
from evonas.errors import DataError, UserError

SUFFIXES = (".jpeg", ".jpg", ".png")
TREE = """\
<root>/train/<class>/<name>.JPEG|jpg|png
<root>/val/<class>/<name>.JPEG|jpg|png
Classes are numbered in the order of their folders' names."""


class ImageFolder(LabelledImageSource):
    """A source of folders, one per class; `test` is the folder `val`, `holdout` a part of `train`.

    Args:
        root: holds the two folders.
        num_classes: the folders in `train`.
        views: how images become tensors.
        train: name of the training folder, which may be `.`; likewise `test`. Without a test folder (None)
            it is cut from the training folder.
        seed: decides which images are held out.
        augment_seed: decides the augmentation of `train`.
        holdout: the share of every class that is held out.
        test_share: of every class, where there is no test folder; the same images whatever `seed`.
        max_pixels: larger images are refused.
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
        holdout: float = 0.02,
        test_share: float = 0.2,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        super().__init__(num_classes, views, seed, augment_seed, holdout)
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
        """The names of the training folder's folders."""
        if not self._names:
            names = [folder.name for folder in class_folders(self._folders["train"])]
            if len(names) != self.num_classes:
                raise DataError(
                    f"{self._folders['train']} contains {len(names)} classes, not {self.num_classes}.",
                    f"Set data.num_classes={len(names)}, or complete the folder.",
                )
            self._names = tuple(names)
        return self._names

    def shelf(self, part: Part) -> "FileShelf":
        """The files of a part, listed once."""
        if part not in self._shelves:
            numbers = {name: number for number, name in enumerate(self.class_names())}
            self._shelves[part] = self._cut(part, listed(self._folders[part], numbers, self.max_pixels))
        return self._shelves[part]

    def _cut(self, part: Part, whole: "FileShelf") -> "FileShelf":
        """The part of a folder that holds both; all of any other."""
        if self._test_share is None:
            return whole
        tested = held_out(whole.labels, self._test_share, seed=0)
        return whole.chosen(np.flatnonzero(tested if part == "test" else ~tested).tolist())


class FileShelf:
    """Files in the order of their classes and names."""

    def __init__(self, folder: Path, names: Sequence[str], labels: Sequence[int], max_pixels: int) -> None:
        self.labels = np.asarray(labels, dtype=np.int64)
        self._folder, self._names, self._max_pixels = folder, names, max_pixels

    def open(self, place: int) -> Image.Image:
        """Decode one image."""
        return open_image(self._folder / self._names[place], self._max_pixels)

    def chosen(self, places: Sequence[int]) -> "FileShelf":
        """Some of them, in this order."""
        names = [self._names[place] for place in places]
        return FileShelf(self._folder, names, self.labels[list(places)].tolist(), self._max_pixels)

    def describe(self, place: int) -> str:
        """Name and size in bytes."""
        return f"{self._names[place]} {(self._folder / self._names[place]).stat().st_size}"


def listed(folder: Path, numbers: dict[str, int], max_pixels: int) -> FileShelf:
    """The images of a folder of class folders, numbered by the folders' names."""
    names: list[str] = []
    labels: list[int] = []
    for each in class_folders(folder):
        if each.name not in numbers:
            raise DataError(f"The class {each} has no training images.", f"Expected:\n{TREE}")
        found = _images(each)
        names += [f"{each.name}/{name}" for name in found]
        labels += [numbers[each.name]] * len(found)
    if not names:
        raise DataError(f"{folder} contains no images ({', '.join(SUFFIXES)}).", f"Expected:\n{TREE}")
    return FileShelf(folder, names, labels, max_pixels)


def class_folders(folder: Path) -> list[Path]:
    """The folders in a folder, in the order of their names; hidden ones are skipped."""
    if not folder.is_dir():
        raise DataError(f"Folder {folder} does not exist.", f"Set data.root=<root>, where:\n{TREE}")
    found = sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    if not found:
        raise DataError(f"{folder} contains no class folders.", f"Sort the images into:\n{TREE}")
    return found


def _images(folder: Path) -> list[str]:
    return sorted(
        each.name
        for each in folder.iterdir()
        if each.suffix.lower() in SUFFIXES and not each.name.startswith(".")
    )
