"""Images in shards, webdataset tars and parquet tables, with random access.

A shard is indexed once, by its headers; then each image can be read separately and in any order, which reproducible
batches and resuming require. The webdataset library is not used: it reads sequentially and unpickles members. A sample
of a webdataset tar is files of one name with different extensions: an image (`.jpg .jpeg .png`) and its class id
(`.cls`, as text). A parquet table, as written by the datasets library, has the columns `image` (bytes, or a record with
`bytes`) and `label` (a number).
"""

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evonas.data.classification.augment import Views
from evonas.data.classification.base import LabelledImageSource, Part
from evonas.data.io.pictures import SUFFIXES, open_picture
from evonas.data.io.safe import MAX_PIXELS, Encoded, Member, read_member, tar_members
from evonas.data.io.split_lists import refuse_shared
from evonas.errors import DataError, UserError

IMAGE_SUFFIXES = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)
# digits of a class id, and a line end
MAX_LABEL_BYTES = 32
MAX_GROUP_BYTES = 2 * 2**30


class Shard(Protocol):
    """A file of many images."""

    path: Path
    labels: NDArray[np.int64]

    def read(self, place: int) -> Encoded: ...

    def name(self, place: int) -> str: ...

    def describe(self, place: int) -> str: ...


class Shards(LabelledImageSource):
    """A source of tars or parquet tables; `holdout` is a part of the training shards.

    Args:
        root: folder of all shards.
        num_classes: number of classes; labels are 0 to num_classes - 1.
        train, test: glob patterns of the names of training and test shards.
        max_pixels: larger images are refused.
        views, seed, augment_seed, validation: see `LabelledImageSource`.
    """

    def __init__(
        self,
        root: str,
        num_classes: int,
        views: Views,
        train: str = "*train*",
        test: str = "*val*",
        seed: int = 0,
        augment_seed: int = 0,
        validation: float = 0.02,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        super().__init__(num_classes, views, seed, augment_seed, validation)
        self.root, self.max_pixels = Path(root), max_pixels
        self._patterns: dict[Part, str] = {"train": train, "test": test}
        self._shelves: dict[Part, _Shelf] = {}

    def class_names(self) -> Sequence[str]:
        """Class ids as text, since shards have no class names."""
        return [f"class {number}" for number in range(self.num_classes)]

    def shelf(self, part: Part) -> "_Shelf":
        """The shards of a part, indexed once."""
        if part not in self._shelves:
            paths = _matching(self.root, self._patterns[part], part)
            other: Part = "train" if part == "test" else "test"
            if other in self._shelves:
                refuse_shared(self._shelves[other].paths, paths, (other, part))
            shards = [TarShard(path) if path.suffix == ".tar" else ParquetShard(path) for path in paths]
            self._shelves[part] = _Shelf(shards, self.num_classes, self.max_pixels)
        return self._shelves[part]


class _Shelf:
    """Concatenated shards, sorted by name."""

    def __init__(self, shards: Sequence[Shard], num_classes: int, max_pixels: int) -> None:
        self._shards, self._max_pixels = shards, max_pixels
        self.paths = tuple(shard.path for shard in shards)
        self._ends = np.cumsum([len(shard.labels) for shard in shards])
        self.labels = np.concatenate([shard.labels for shard in shards])
        wrong = np.flatnonzero((self.labels < 0) | (self.labels >= num_classes))
        if len(wrong):
            place = int(wrong[0])
            raise DataError(
                f"{self.describe(place)} contains unknown class id {self.labels[place]} (0 to {num_classes - 1}).",
                "Set data.num_classes=<n>.",
            )

    def open(self, place: int) -> Image.Image:
        """Decode one image."""
        shard, inside = self._found(place)
        return open_picture(shard.read(inside), self._max_pixels)

    def name(self, place: int) -> str:
        """Shard, and name or row in it."""
        shard, inside = self._found(place)
        return shard.name(inside)

    def file(self, place: int) -> None:
        """None, since images lie in shards."""

    def describe(self, place: int) -> str:
        """Shard, name and size in bytes."""
        shard, inside = self._found(place)
        return shard.describe(inside)

    def _found(self, place: int) -> tuple[Shard, int]:
        number = int(np.searchsorted(self._ends, place, side="right"))
        before = 0 if number == 0 else int(self._ends[number - 1])
        return self._shards[number], place - before


class TarShard:
    """A webdataset tar; samples are in the order of the archive.

    Args:
        path: an uncompressed tar.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._images: list[Member] = []
        labels: list[int] = []
        for key, parts in _samples(path).items():
            images = [parts[ending] for ending in IMAGE_SUFFIXES if ending in parts]
            if len(images) != 1 or "cls" not in parts:
                raise DataError(
                    f"{path}: the sample {key!r} has {', '.join(sorted(parts))}.",
                    f"A sample is one image ({' '.join(SUFFIXES)}) and its class (.cls).",
                )
            self._images.append(images[0])
            labels.append(_class_number(path, parts["cls"]))
        self.labels = np.asarray(labels, dtype=np.int64)

    def read(self, place: int) -> Encoded:
        """The bytes of one image."""
        member = self._images[place]
        return Encoded(f"{self.path}: {member.name}", read_member(self.path, member))

    def name(self, place: int) -> str:
        """Shard and name."""
        return f"{self.path.name}/{self._images[place].name}"

    def describe(self, place: int) -> str:
        """Shard, name and size in bytes."""
        return f"{self.name(place)} {self._images[place].size}"


class ParquetShard:
    """A parquet table with the columns `image` and `label`; caches the last row group.

    Args:
        path: the table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _parquet(path)
        groups = [
            self._file.metadata.row_group(number) for number in range(self._file.metadata.num_row_groups)
        ]
        for number, group in enumerate(groups):
            if group.total_byte_size > MAX_GROUP_BYTES:
                raise DataError(
                    f"{path}: row group {number} has {group.total_byte_size} bytes, "
                    f"at most {MAX_GROUP_BYTES} are read.",
                    "Write it with smaller row groups.",
                )
        self._ends = np.cumsum([group.num_rows for group in groups])
        self.labels = self._labels()
        self._kept: tuple[int, list[Any]] = (-1, [])

    def read(self, place: int) -> Encoded:
        """The bytes of one image."""
        value = self._cell(place)
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise DataError(f"{self.path}: row {place} contains no image bytes.", "Embed the images.")
        return Encoded(f"{self.path}: row {place}", content)

    def name(self, place: int) -> str:
        """Shard and row."""
        return f"{self.path.name}/{place}"

    def describe(self, place: int) -> str:
        """Shard, row and size of the whole table, since sizes of single images are not read."""
        return f"{self.name(place)} {self.path.stat().st_size}"

    def _labels(self) -> NDArray[np.int64]:
        column = self._file.read(columns=["label"]).column("label")
        if column.null_count:
            raise DataError(f"{self.path}: {column.null_count} rows have no label.", "Remove them.")
        try:
            return np.asarray(column.to_numpy(), dtype=np.int64)
        except (TypeError, ValueError) as error:
            raise DataError(f"{self.path}: labels must be numbers: {error}.") from error

    def _cell(self, place: int) -> Any:
        group = int(np.searchsorted(self._ends, place, side="right"))
        if self._kept[0] != group:
            self._kept = (
                group,
                self._file.read_row_group(group, columns=["image"]).column("image").to_pylist(),
            )
        before = 0 if group == 0 else int(self._ends[group - 1])
        return self._kept[1][place - before]


def _matching(root: Path, pattern: str, part: Part) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"Folder {root} does not exist.", "Set data.root=<folder of shards>.")
    found = sorted(path for path in root.glob(pattern) if path.suffix in (".tar", ".parquet"))
    if not found:
        raise DataError(
            f"{root} contains no shards (.tar, .parquet) named {pattern!r}.", f"Set data.{part}=<pattern>."
        )
    return found


def _samples(path: Path) -> dict[str, dict[str, Member]]:
    """Members by sample and extension, which begins at the first dot after the last slash (as in webdataset)."""
    samples: dict[str, dict[str, Member]] = {}
    for member in tar_members(path):
        folder, slash, name = member.name.rpartition("/")
        stem, _, ending = name.partition(".")
        parts = samples.setdefault(f"{folder}{slash}{stem}", {})
        if parts.setdefault(ending.lower(), member) is not member:
            raise DataError(f"{path}: {member.name!r} occurs twice.", "Write the shard again.")
    return samples


def _class_number(path: Path, member: Member) -> int:
    if member.size > MAX_LABEL_BYTES:
        raise DataError(f"{path}: {member.name!r} has {member.size} bytes, too many for a class number.")
    text = read_member(path, member).removeprefix(codecs.BOM_UTF8)
    try:
        return int(text)
    except ValueError as error:
        raise DataError(f"{path}: {member.name!r} contains {text!r}, not a class id.") from error


def _parquet(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise UserError(
            f"{path} needs pyarrow, which is not installed.", "Install it with: pip install 'evonas[shards]'"
        ) from error
    try:
        table = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a parquet table: {error}.", "Download it again.") from error
    missing = {"image", "label"} - set(table.schema_arrow.names)
    if missing:
        raise DataError(f"{path} has no column {', '.join(sorted(missing))}.", "Expected: image, label.")
    return table
