"""Safe readers of external files: images, lists and archives that may be damaged or malicious.

Whatever is wrong with a file, the answer is a DataError that names it. Sizes are checked
before anything is decoded, so a small file cannot ask for much memory.
"""

import io
import json
import math
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from evonas.errors import DataError

FORMATS = ("PNG", "JPEG")
MAX_PIXELS = 64_000_000
MAX_IMAGE_BYTES = 256 * 2**20
MAX_LIST_BYTES = 64 * 2**20
MAX_ARRAY_BYTES = 512 * 2**20
MAX_ARCHIVE_BYTES = 2**40
MAX_DOCUMENT_BYTES = 4 * 2**20
MAX_DOCUMENTS = 1_000_000
MAX_LINES = 2_000_000
MAX_LINE = 4096

# what Pillow raises on damaged or hostile input, over its formats
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, MemoryError, struct.error, zlib.error)
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a list; `where` names file and line for messages."""

    where: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """The bytes of an image that lies inside another file; `name` stands for it in messages."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


def open_image(path: Path | Encoded, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A decoded PNG or JPEG; the file is closed afterwards.

    Errors: DataError for a missing, truncated, foreign or too large file.
    """
    with _opened(path, max_pixels) as image:
        try:
            image.load()
        except _BROKEN as error:
            raise DataError(f"{path} is damaged: {error}.", "Replace the file or leave it out.") from error
        return image.copy()


def image_size(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Height and width from the header alone; errors as `open_image`, but for damage to the pixels."""
    with _opened(path, max_pixels) as image:
        return image.height, image.width


def _opened(path: Path | Encoded, max_pixels: int) -> Image.Image:
    """The image with its header read and its size accepted."""
    try:
        image = Image.open(_stream(path), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is not a PNG or JPEG image.", "Convert it, or leave it out.") from error
    except _BOMB as error:
        raise _too_large(path, max_pixels) from error
    except _BROKEN as error:
        raise DataError(f"{path} is damaged: {error}.", "Replace the file or leave it out.") from error
    if image.width * image.height > max_pixels:
        image.close()
        raise _too_large(path, max_pixels)
    return image


def _stream(path: Path | Encoded) -> Path | io.BytesIO:
    if isinstance(path, Path):
        _check_file(path, MAX_IMAGE_BYTES)
        return path
    if len(path.content) > MAX_IMAGE_BYTES:
        raise DataError(f"{path} has {len(path.content)} bytes; at most {MAX_IMAGE_BYTES} are read.")
    return io.BytesIO(path.content)


def read_lines(path: Path, root: Path, columns: int = 1) -> list[tuple[Path, ...]]:
    """The first `columns` fields of each line that is not empty, as paths below `root`.

    Errors: DataError naming the line for absolute paths, escapes from `root` (also by
    symbolic links), NUL bytes, missing fields, over-long lines and lists.
    """
    base = root.resolve()
    return [
        tuple(below(base, field, row.where) for field in row.fields[:columns])
        for row in read_rows(path, columns)
    ]


def read_rows(path: Path, columns: int = 1) -> list[Row]:
    """Every line that is not empty, as words that nobody has looked at yet.

    For lists whose words are matched against a pattern and never used as paths; otherwise
    `read_lines`. Errors: DataError naming the line for fewer than `columns` words, NUL
    bytes, over-long lines and lists.
    """
    return [
        _row(line, f"{path}, line {number}", columns)
        for number, line in enumerate(read_text(path), start=1)
        if line.strip()
    ]


def read_text(path: Path) -> list[str]:
    """Every line, empty ones and long ones included, for formats in which they mean something.

    Errors: DataError for a missing or too large file, for too many lines, and for bytes that are not UTF-8.
    """
    _check_file(path, MAX_LIST_BYTES)
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: byte {error.start}.", "Save it as UTF-8.") from error
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        raise DataError(f"{path} has {len(lines)} lines; at most {MAX_LINES} are read.", "Split the list.")
    return lines


def _row(line: str, where: str, columns: int) -> Row:
    if len(line) > MAX_LINE:
        raise DataError(f"{where} has {len(line)} characters; at most {MAX_LINE} are read.")
    if "\0" in line:
        raise DataError(f"{where} contains a NUL byte.", "Remove it.")
    fields = tuple(line.split())
    if len(fields) < columns:
        raise DataError(
            f"{where} has {len(fields)} of {columns} fields.", "One sample a line, split by blanks."
        )
    return Row(where, fields)


def below(base: Path, field: str, where: str) -> Path:
    """The field as a path that lies below `base`, itself resolved, after links are followed."""
    try:
        target = (base / field).resolve()
    except (OSError, RuntimeError) as error:
        raise DataError(f"{where} names a path that cannot be followed: {error}.") from error
    if Path(field).is_absolute() or not target.is_relative_to(base):
        raise DataError(f"{where} leaves the data folder: {field!r}.", f"Paths are relative to {base}.")
    return target


def _check_file(path: Path, max_bytes: int) -> None:
    """A regular file (not a pipe or a device, which could block or never end) of a sane size."""
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise DataError(f"{path} {what}.", "Check the path.")
    size = path.stat().st_size
    if size > max_bytes:
        raise DataError(f"{path} has {size} bytes; at most {max_bytes} are read.")


def _too_large(path: Path | Encoded, max_pixels: int) -> DataError:
    return DataError(f"{path} has more than {max_pixels} pixels.", "Scale it down, or leave it out.")


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of an .npz file by name; never unpickles, and checks sizes before it allocates.

    Errors: DataError for a missing, damaged, foreign or too large file, and for arrays of objects.
    """
    _check_file(path, MAX_LIST_BYTES)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > MAX_ARRAY_BYTES:
                raise DataError(f"{path} unpacks to more than {MAX_ARRAY_BYTES} bytes.", "Split the file.")
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    except (*_BROKEN, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise DataError(
            f"{path} is not a readable .npz file: {error}.", "Download or write it again."
        ) from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """One array, after its header was seen to promise no more than its bytes."""
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read:
            raise ValueError(f"array {member.filename} has the format {version}")
        shape, _, dtype = read[version](stream)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize > member.file_size:
        raise ValueError(f"array {member.filename} holds objects, or promises more than the file has")
    with archive.open(member) as stream:
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside an archive: where its bytes begin and how many they are."""

    name: str
    start: int
    size: int


def tar_members(path: Path) -> list[Member]:
    """The regular files of an uncompressed tar, by reading headers alone; nothing is unpacked.

    Errors: DataError naming the member for links, devices, names that leave the archive and
    members that are too large or reach beyond the end; for archives that are no plain tar.
    """
    _check_file(path, MAX_ARCHIVE_BYTES)
    try:
        with tarfile.open(path, "r:") as archive:
            return [_member(path, entry) for entry in archive if not entry.isdir()]
    except (tarfile.TarError, *_BROKEN) as error:
        raise DataError(
            f"{path} is not a plain tar archive: {error}.", "Random access needs an uncompressed, whole tar."
        ) from error


def read_member(path: Path, member: Member) -> bytes:
    """The bytes of one member. Errors: DataError where the archive ends before they do."""
    with path.open("rb") as stream:
        stream.seek(member.start)
        content = stream.read(member.size)
    if len(content) != member.size:
        raise DataError(f"{path} ends inside {member.name!r}.", "Download the archive again.")
    return content


def _member(path: Path, entry: tarfile.TarInfo) -> Member:
    name = PurePosixPath(entry.name)
    if not entry.isreg() or entry.issparse():
        raise DataError(
            f"{path}: {entry.name!r} is a link, a device or sparse.", "Only plain files are read."
        )
    if name.is_absolute() or ".." in name.parts or not entry.name.isprintable():
        raise DataError(f"{path}: the name {entry.name!r} leaves the archive.", "Use a trusted archive.")
    if entry.size > MAX_IMAGE_BYTES:
        raise DataError(f"{path}: {entry.name!r} has {entry.size} bytes; at most {MAX_IMAGE_BYTES} are read.")
    if entry.offset_data + entry.size > path.stat().st_size:
        raise DataError(f"{path} ends inside {entry.name!r}.", "Download the archive again.")
    return Member(entry.name, entry.offset_data, entry.size)


def open_stream(path: Path, max_bytes: int = MAX_ARCHIVE_BYTES) -> BinaryIO:
    """A regular file of a sane size, to be read in pieces by who knows its framing."""
    _check_file(path, max_bytes)
    return path.open("rb")


def read_json(path: Path | Encoded, max_bytes: int = MAX_LIST_BYTES) -> Any:
    """One JSON document. Errors: DataError for a missing, damaged, too large or too deep one."""
    if isinstance(path, Path):
        _check_file(path, max_bytes)
    try:
        return json.loads(path.content if isinstance(path, Encoded) else path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a JSON document: {error}.", "Download or write it again.") from error


def read_xml(path: Path) -> ElementTree.Element:
    """The root of a small XML document. Errors: DataError for a damaged one, and for a document type."""
    _check_file(path, MAX_DOCUMENT_BYTES)
    content = path.read_bytes()
    # entities may refer to one another, and so make gigabytes of a few lines
    if b"<!" in content.replace(b"<!--", b""):
        raise DataError(f"{path} has a document type of its own.", "Remove what begins with <!.")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not an XML document: {error}.", "Download it again.") from error


def read_documents(path: Path, name: str) -> Iterator[Encoded]:
    """The files below a folder, or in a .zip or .tar.gz archive, whose base name matches a pattern.

    Errors: DataError for an archive that is damaged or of another kind, and for a document or an archive
    that is too large; nothing is unpacked to the disk.
    """
    found = _folder(path, name) if path.is_dir() else _archived(path, name)
    for count, document in enumerate(found, start=1):
        if count > MAX_DOCUMENTS or len(document.content) > MAX_DOCUMENT_BYTES:
            raise DataError(f"{document} is too large, or one of more than {MAX_DOCUMENTS} documents.")
        yield document


def _folder(path: Path, name: str) -> Iterator[Encoded]:
    for found in path.rglob("*"):
        if re.fullmatch(name, found.name):
            _check_file(found, MAX_DOCUMENT_BYTES)
            yield Encoded(str(found), found.read_bytes())


def _archived(path: Path, name: str) -> Iterator[Encoded]:
    _check_file(path, MAX_ARCHIVE_BYTES)
    try:
        yield from (_zipped if zipfile.is_zipfile(path) else _tarred)(path, name)
    except (tarfile.TarError, zipfile.BadZipFile, NotImplementedError, RuntimeError, *_BROKEN) as error:
        raise DataError(
            f"{path} is not a readable .zip or .tar.gz archive: {error}.", "Download it again, or unpack it."
        ) from error


def _zipped(path: Path, name: str) -> Iterator[Encoded]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if re.fullmatch(name, PurePosixPath(entry.filename).name):
                with archive.open(entry) as stream:
                    yield Encoded(f"{path}: {entry.filename}", stream.read(MAX_DOCUMENT_BYTES + 1))


def _tarred(path: Path, name: str) -> Iterator[Encoded]:
    with tarfile.open(path, "r:gz") as archive:
        for entry in archive:
            if entry.offset_data + entry.size > MAX_ARRAY_BYTES:
                raise DataError(
                    f"{path} unpacks to more than {MAX_ARRAY_BYTES} bytes.", "Unpack it yourself."
                )
            stream = archive.extractfile(entry) if entry.isreg() else None
            if stream is not None and re.fullmatch(name, PurePosixPath(entry.name).name):
                yield Encoded(f"{path}: {entry.name}", stream.read(MAX_DOCUMENT_BYTES + 1))
