"""CIFAR and STL-10 from their binary versions.

The Python version of CIFAR is a pickle, which could execute code; the binary version contains the same
images. Layouts: https://www.cs.toronto.edu/~kriz/cifar.html and https://cs.stanford.edu/~acoates/stl10.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evonas.data.classification.base import Part, Places
from evonas.data.io.safe import MAX_ARRAY_BYTES, open_stream, read_rows
from evonas.errors import DataError

Bytes = NDArray[np.uint8]


class ArrayShelf:
    """Images of one size in memory.

    Args:
        images: N 3 H W.
        labels: N.
    """

    def __init__(self, images: Bytes, labels: Places) -> None:
        self._images, self.labels = images, labels

    def open(self, place: int) -> Image.Image:
        """One image."""
        return Image.fromarray(np.ascontiguousarray(self._images[place].transpose(1, 2, 0)))

    def name(self, place: int) -> str:
        """The number of an image, since images have no names."""
        return f"image {place}"

    def file(self, place: int) -> None:
        """None, since images lie in one file."""

    def describe(self, place: int) -> str:
        """The sha256 of the pixels, since images have no names."""
        return hashlib.sha256(self._images[place].tobytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class Cifar:
    """Layout of CIFAR-10 or CIFAR-100.

    Args:
        folder: folder of the unpacked archive.
        files: files of each part.
        labels: number of bytes before the pixels; the last of them is the class id.
        names: file of class names.
        classes: number of classes.
    """

    folder: str
    files: dict[Part, tuple[str, ...]]
    labels: int
    names: str
    classes: int

    def read(self, root: Path, part: Part) -> ArrayShelf:
        """The images of a part."""
        size = self.labels + 3 * 32 * 32
        pieces = [_bytes(root / self.folder / name, size) for name in self.files[part]]
        records = np.concatenate([piece.reshape(-1, size) for piece in pieces])
        labels = records[:, self.labels - 1].astype(np.int64)
        check_labels(labels, self.classes, root / self.folder)
        return ArrayShelf(records[:, self.labels :].reshape(-1, 3, 32, 32), labels)

    def class_names(self, root: Path) -> Sequence[str]:
        """The lines of the file of class names."""
        return [" ".join(row.fields) for row in read_rows(root / self.folder / self.names)]


CIFAR10 = Cifar(
    "cifar-10-batches-bin",
    {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)},
    1,
    "batches.meta.txt",
    10,
)
# a coarse label comes first
CIFAR100 = Cifar(
    "cifar-100-binary", {"train": ("train.bin",), "test": ("test.bin",)}, 2, "fine_label_names.txt", 100
)


class Stl10:
    """STL-10 without its unlabelled images; in the files class ids start at 1, and pixels are in column order."""

    folder, classes = "stl10_binary", 10

    def read(self, root: Path, part: Part) -> ArrayShelf:
        """The images of a part."""
        folder = root / self.folder
        images = _bytes(folder / f"{part}_X.bin", 3 * 96 * 96).reshape(-1, 3, 96, 96)
        labels = _bytes(folder / f"{part}_y.bin", 1).astype(np.int64) - 1
        if len(labels) != len(images):
            raise DataError(f"{folder} contains {len(images)} images and {len(labels)} labels of {part}.")
        check_labels(labels, self.classes, folder)
        return ArrayShelf(images.transpose(0, 1, 3, 2), labels)

    def class_names(self, root: Path) -> Sequence[str]:
        """The lines of the file of class names."""
        return [" ".join(row.fields) for row in read_rows(root / self.folder / "class_names.txt")]


def check_labels(labels: Places, classes: int, where: Path) -> None:
    """Raises a DataError for unknown class ids."""
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= classes:
        found = sorted(set(labels.tolist()))[-1:] or ["none"]
        raise DataError(
            f"{where} contains unknown class id {found[0]}; there are {classes} classes.",
            "Download it again.",
        )


def _bytes(path: Path, size: int) -> Bytes:
    """The content of a file of records of `size` bytes."""
    with open_stream(path, MAX_ARRAY_BYTES) as stream:
        content = stream.read()
    if not content or len(content) % size:
        raise DataError(
            f"{path} has {len(content)} bytes, which is not a multiple of {size}.", "Download it again."
        )
    return np.frombuffer(content, dtype=np.uint8)
