"""Public data sets of image files with index files.

torchvision's classes read the index files of those data sets whose images can be opened by `open_picture` instead and
whose digests are not checked; nothing is downloaded.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from torchvision import datasets

from evonas.data.classification.base import Part
from evonas.data.classification.cifar_binary import check_labels
from evonas.data.classification.imagefolder import FileShelf, class_folders, listed
from evonas.data.io.safe import MAX_LIST_BYTES, MAX_PIXELS, composed, open_stream, read_rows
from evonas.data.io.split_lists import Folders, refuse_missing
from evonas.errors import DataError

# exceptions of torchvision and scipy on invalid folders and index files
_BROKEN = (
    *(RuntimeError, OSError, ValueError, KeyError, IndexError, TypeError, NotImplementedError),
    *(MatReadError, struct.error, zlib.error),
)

Pairs = list[tuple[Path, int]]


def _shelf(pairs: Pairs, classes: int, root: Path) -> FileShelf:
    folders = Folders()
    missing = [path for path, _ in pairs if not folders.has(path)]
    refuse_missing(missing, len(pairs), f"The index files in {root}")
    check_labels(np.array([label for _, label in pairs], dtype=np.int64), classes, root)
    names = [path.relative_to(root).as_posix() for path, _ in pairs]
    return FileShelf(root, names, [label for _, label in pairs], MAX_PIXELS)


@dataclass(frozen=True, slots=True)
class Known:
    """A data set that torchvision reads.

    Args:
        maker: torchvision's class.
        splits: torchvision's splits of each part.
        classes: number of classes.
        folder: folder below the root, for messages.
    """

    maker: Callable[..., Any]
    splits: dict[Part, tuple[str, ...]]
    classes: int
    folder: str

    def read(self, root: Path, part: Part) -> FileShelf:
        """The images of a part; opens none."""
        pairs: Pairs = []
        for split in self.splits[part]:
            found = self._made(root, split)
            pairs += [(Path(path), int(label)) for path, label in map(found.__getitem__, range(len(found)))]
        return _shelf(pairs, self.classes, root)

    def class_names(self, root: Path) -> Sequence[str]:
        """torchvision's class names."""
        return [str(name) for name in self._made(root, self.splits["train"][0]).classes]

    def _made(self, root: Path, split: str) -> Any:
        try:
            # the loader returns paths, since only `open_picture` may open external images
            return self.maker(str(root), split=split, loader=str)
        except _BROKEN as error:
            raise DataError(
                f"{root / self.folder} is incomplete: {error}.",
                "Unpack the archives as docs/data.md says, and set data.root=<folder of the archives>.",
            ) from error


DTD = Known(datasets.DTD, {"train": ("train", "val"), "test": ("test",)}, 47, "dtd")
AIRCRAFT = Known(
    datasets.FGVCAircraft, {"train": ("trainval",), "test": ("test",)}, 100, "fgvc-aircraft-2013b"
)
FOOD101 = Known(datasets.Food101, {"train": ("train",), "test": ("test",)}, 101, "food-101")
CARS = Known(datasets.StanfordCars, {"train": ("train",), "test": ("test",)}, 196, "stanford_cars")


class Pets:
    """Oxford-IIIT Pets by breed; in the lists breeds start at 1."""

    folder, classes = "oxford-iiit-pet", 37
    _lists: dict[Part, str] = {"train": "trainval.txt", "test": "test.txt"}

    def read(self, root: Path, part: Part) -> FileShelf:
        """The images of a part."""
        images = root / self.folder / "images"
        return _shelf([(images / f"{name}.jpg", breed) for name, breed in self._rows(root, part)], 37, root)

    def class_names(self, root: Path) -> Sequence[str]:
        """The breeds, from the beginnings of the images' names."""
        named = {breed: name.rpartition("_")[0] for name, breed in self._rows(root, "train")}
        return [named.get(breed, str(breed)) for breed in range(self.classes)]

    def _rows(self, root: Path, part: Part) -> list[tuple[str, int]]:
        found = []
        for row in read_rows(root / self.folder / "annotations" / self._lists[part], columns=2):
            name, breed = row.fields[:2]
            if not breed.isdecimal() or Path(name).name != name:
                raise DataError(f"{row.where} must name an image and its breed.", "Download the lists again.")
            found.append((name, int(breed) - 1))
        return found


class Flowers:
    """Oxford's 102 flowers; numbers of images and class ids start at 1, in MATLAB files."""

    folder, classes = "flowers-102", 102
    _splits: dict[Part, tuple[str, ...]] = {"train": ("trnid", "valid"), "test": ("tstid",)}

    def read(self, root: Path, part: Part) -> FileShelf:
        """The images of a part; the training part includes the official validation split."""
        base = root / self.folder
        try:
            labels = _matlab(base / "imagelabels.mat")["labels"]
            chosen = _matlab(base / "setid.mat")
            numbers = [int(each) for split in self._splits[part] for each in np.ravel(chosen[split])]
            pairs = [(base / "jpg" / f"image_{each:05}.jpg", int(labels[each - 1]) - 1) for each in numbers]
        except _BROKEN as error:
            raise DataError(f"The lists in {base} are damaged: {error}.", "Download them again.") from error
        return _shelf(pairs, self.classes, root)

    def class_names(self, root: Path) -> Sequence[str]:  # noqa: ARG002
        """torchvision's class names, since the files have none."""
        return list(datasets.Flowers102.classes)


def _matlab(path: Path) -> Any:
    with open_stream(path, MAX_LIST_BYTES) as stream:
        return loadmat(stream, squeeze_me=True)


class Cinic:
    """CINIC-10; its folder `valid` is not used."""

    folder, classes = "CINIC-10", 10

    def read(self, root: Path, part: Part) -> FileShelf:
        """The images of a part."""
        numbers = {composed(name): number for number, name in enumerate(self.class_names(root))}
        return listed(root / self.folder / part, numbers, MAX_PIXELS)

    def class_names(self, root: Path) -> Sequence[str]:
        """The names of the folders."""
        return [folder.name for folder in class_folders(root / self.folder / "train")]
