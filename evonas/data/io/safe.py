"""Safe readers of external files: images, lists and archives that may be damaged or malicious.

All problems with a file raise a DataError that names it. Sizes are checked before anything is decoded, so that a small
file cannot allocate much memory.
"""

import codecs
import io
import json
import math
import os
import re
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

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

# exceptions of Pillow on damaged or malicious input, over its formats
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, MemoryError, struct.error, zlib.error)
# a word in double quotes, or up to the next blank
_WORD = re.compile(r'"([^"]*)"|(\S+)')
_ORIENTATION, _PNG_BITS = 0x0112, 24
# beginnings of formats, for messages
_SIGNATURES = {
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "GIF": re.compile(rb"GIF8"),
    "BMP": re.compile(rb"BM"),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "HEIF or AVIF": re.compile(rb"....ftyp(heic|heix|hevc|mif1|msf1|avif|avis)", re.DOTALL),
    "JPEG 2000": re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    "JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "PDF": re.compile(rb"%PDF"),
}
# an escaped half of a character beyond 16 bits
_HALF = re.compile(rb"\\[uU][dD][89a-fA-F]")
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a list, split into words; `where` names file and line in messages."""

    where: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """The bytes of a file inside another file; `name` is its name in messages."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image as its file stores it; `data/io/pictures.py` says what it shows.

    Args:
        image: the decoded pixels in Pillow's mode, neither turned nor converted.
        format: one of `FORMATS`.
        bits: bits of a sample in the file; Pillow stretches samples of fewer than eight bits, except palette indices.
        frames: number of images in an animated PNG, otherwise 1.
        orientation: EXIF's orientation, 1 (upright) to 8; 1 where EXIF has none or is damaged.
    """

    image: Image.Image
    format: str
    bits: int
    frames: int
    orientation: int


def open_tiff(path: Path, max_pixels: int = MAX_PIXELS) -> StoredImage:
    """Decodes the first image of a TIFF, which has no place for photographs here but for depth maps.

    Args and errors are those of `open_image`; `orientation` is that of the stored pixels, which Pillow has turned.
    """
    with _opened(path, max_pixels, ("TIFF",)) as image:
        frames = int(getattr(image, "n_frames", 1))
        # Pillow turns a TIFF while it decodes it, and forgets its orientation
        orientation = _orientation(image)
        try:
            image.load()
        except _BROKEN as error:
            raise DataError(f"{path} is damaged: {error}.", "Replace the file or leave it out.") from error
        return StoredImage(image.copy(), "TIFF", 8 * np.asarray(image).itemsize, frames, orientation)


def open_image(path: Path | Encoded, max_pixels: int = MAX_PIXELS) -> StoredImage:
    """Decodes a PNG or JPEG image and closes the file.

    Args:
        path: the file, or its content.
        max_pixels: larger images are refused before they are decoded.

    Raises:
        DataError: the file is missing, truncated, too large, or of another format.
    """
    with _opened(path, max_pixels) as image:
        # a JPEG with further images of other views or exposures (MPO) shows its first one
        form = "PNG" if image.format == "PNG" else "JPEG"
        frames = int(getattr(image, "n_frames", 1)) if form == "PNG" else 1
        bits = _png_bits(image) if form == "PNG" else 8
        try:
            image.load()
        except _BROKEN as error:
            raise DataError(f"{path} is damaged: {error}.", "Replace the file or leave it out.") from error
        return StoredImage(image.copy(), form, bits, frames, _orientation(image))


def stored_size(path: Path | Encoded, max_pixels: int = MAX_PIXELS) -> tuple[int, int, int]:
    """Height and width of the stored pixels, and EXIF's orientation; raises as `open_image` but for damaged pixels."""
    with _opened(path, max_pixels) as image:
        return image.height, image.width, _orientation(image)


def stored_kind(path: Path, max_pixels: int = MAX_PIXELS) -> str:
    """Format, mode and bits of an image file from its header, such as `PNG RGB` or `PNG I;16, 16 bits`."""
    formats = ("TIFF",) if path.suffix.lower() in (".tif", ".tiff") else FORMATS
    with _opened(path, max_pixels, formats) as image:
        form = "JPEG" if image.format == "MPO" else image.format
        bits = _png_bits(image) if form == "PNG" else 8
        return f"{form} {image.mode}" + ("" if bits == 8 else f", {bits} bit{'s' * (bits > 1)}")


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation; 1 unless it is one of the eight that EXIF defines."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except (*_BROKEN, KeyError, IndexError, TypeError, AttributeError):
        # a photograph with damaged EXIF is shown by all programs, and shown as it is stored
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _png_bits(image: ImageFile.ImageFile) -> int:
    """Bits of a sample, from the first chunk of a PNG, which Pillow does not keep."""
    stream = image.fp
    assert stream is not None
    place = stream.tell()
    stream.seek(_PNG_BITS)
    bits = stream.read(1)[0]
    stream.seek(place)
    return bits


def _opened(path: Path | Encoded, max_pixels: int, formats: tuple[str, ...] = FORMATS) -> ImageFile.ImageFile:
    """The image after its header was read and its size checked."""
    if isinstance(path, Path):
        _check_file(path, MAX_IMAGE_BYTES)
    elif len(path.content) > MAX_IMAGE_BYTES:
        raise DataError(f"{path} has {len(path.content)} bytes; at most {MAX_IMAGE_BYTES} are read.")
    stream = path if isinstance(path, Path) else io.BytesIO(path.content)
    try:
        image = Image.open(stream, formats=formats)
    except UnidentifiedImageError as error:
        kind = _kind(path)
        if kind in formats:
            raise DataError(
                f"{path} is a damaged {kind} file.", "Replace the file or leave it out."
            ) from error
        what = "" if kind is None else f" but {kind}"
        raise DataError(
            f"{path} is not a {' or '.join(formats)} image{what}.", "Convert it, or leave it out."
        ) from error
    except _BOMB as error:
        raise _too_large(path, max_pixels) from error
    except _BROKEN as error:
        raise DataError(f"{path} is damaged: {error}.", "Replace the file or leave it out.") from error
    if image.width * image.height > max_pixels:
        image.close()
        raise _too_large(path, max_pixels)
    return image


def _kind(path: Path | Encoded) -> str | None:
    """The format of a file by its first bytes; None if that is unknown."""
    if isinstance(path, Path):
        with path.open("rb") as stream:
            beginning = stream.read(16)
    else:
        beginning = path.content[:16]
    return next((name for name, start in _SIGNATURES.items() if start.match(beginning)), None)


def read_lines(path: Path, root: Path, columns: int = 1) -> list[tuple[Path, ...]]:
    """The paths below `root` that each line lists, `columns` of them.

    Paths with blanks are separated by a tab or put in double quotes.

    Raises:
        DataError: a line has another number of paths, a path is absolute or leaves `root` (also by symbolic links),
            or as `read_rows`; the message names the line.
    """
    base, found = root.resolve(), []
    for row in read_rows(path, columns, by_tabs=True):
        if len(row.fields) != columns:
            raise DataError(
                f"{row.where} has {len(row.fields)} words, but a line lists {columns} paths.",
                'Separate paths that contain blanks by a tab, or write them in double quotes: "a b.png" "c d.png"',
            )
        found.append(tuple(below(base, field, row.where) for field in row.fields))
    return found


def read_rows(path: Path, columns: int = 1, by_tabs: bool = False) -> list[Row]:
    """The words of each line that is neither empty nor a comment, which begins with `#`.

    Words are separated by blanks, except inside double quotes. For lists whose words are matched against a pattern and
    never used as paths; for paths see `read_lines`.

    Args:
        path: the list.
        columns: least number of words in a line.
        by_tabs: whether the tabs of a line separate its words, if it has any.

    Raises:
        DataError: a line has fewer than `columns` words, a NUL byte or too many characters, or as `read_text`.
    """
    rows: list[Row] = []
    for number, line in enumerate(read_text(path), start=1):
        where, line = f"{path}, line {number}", line.strip()
        if not line or line.startswith("#"):
            continue
        if len(line) > MAX_LINE:
            raise DataError(f"{where} has {len(line)} characters; at most {MAX_LINE} are read.")
        if "\0" in line:
            raise DataError(f"{where} contains a NUL byte.", "Remove it, or save the list as UTF-8.")
        fields = _words(line, by_tabs)
        if len(fields) < columns:
            raise DataError(
                f"{where} has {len(fields)} of {columns} fields.",
                "Expected: one sample per line, its fields separated by blanks or tabs.",
            )
        rows.append(Row(where, fields))
    return rows


def _words(line: str, by_tabs: bool) -> tuple[str, ...]:
    if by_tabs and "\t" in line:
        return tuple(word.strip().strip('"') for word in line.split("\t") if word.strip())
    return tuple(quoted or plain for quoted, plain in _WORD.findall(line))


def read_text(path: Path) -> list[str]:
    """All lines, including empty and long ones, without a byte order mark.

    Raises:
        DataError: the file is missing or too large, has too many lines, or is neither UTF-8 nor UTF-16 that says so by
            a byte order mark, as some editors of Windows write it.
    """
    _check_file(path, MAX_LIST_BYTES)
    content = path.read_bytes()
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: byte {error.start}.", "Save it as UTF-8.") from error
    # `splitlines` would also split at signs that names may contain
    lines = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n") if text else []
    if len(lines) > MAX_LINES:
        raise DataError(f"{path} has {len(lines)} lines; at most {MAX_LINES} are read.", "Split the list.")
    return lines


def below(base: Path, field: str, where: str) -> Path:
    """The field as a path below `base` (which must be resolved), after symbolic links are followed.

    Letters with accents have two spellings in Unicode, composed and decomposed, which look alike; of a path the
    spelling that exists is taken.

    Args:
        base: resolved folder that the path must not leave.
        field: a relative path.
        where: origin of the field, for messages.

    Raises:
        DataError: the path is absolute or leaves `base`.
    """
    try:
        target = (base / _spelled(base, field)).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{where} names a path that cannot be followed: {error}.") from error
    if "\\" in field and not target.exists():
        raise DataError(
            f"{where} names {field!r}, which does not exist.", "Separate folders by / instead of a backslash."
        )
    if Path(field).is_absolute() or not target.is_relative_to(base):
        raise DataError(f"{where} leaves the data folder: {field!r}.", f"Paths are relative to {base}.")
    return target


def _spelled(base: Path, field: str) -> str:
    """The field in the spelling of the files on disk, part by part; unchanged if it is ASCII or does not exist."""
    if field.isascii() or "\0" in field:
        return field
    place = base
    for part in Path(field).parts:
        spellings = (place / form(part) for form in (str, composed, decomposed))
        place = next((each for each in spellings if each.exists()), place / part)
    return str(place)


def composed(name: str) -> str:
    """The name with composed letters (NFC), by which names are compared."""
    return unicodedata.normalize("NFC", name)


def decomposed(name: str) -> str:
    """The name with decomposed letters (NFD), as some file systems of macOS store it."""
    return unicodedata.normalize("NFD", name)


def is_file(path: Path) -> bool:
    """Whether the path leads to a regular file; a name that no file can have, or a folder out of reach, does not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _check_file(path: Path, max_bytes: int) -> None:
    """Raises a DataError unless the path is a regular file (no pipe or device, which could block) of limited size."""
    if not is_file(path):
        what = "is not a file" if os.path.lexists(path) else "does not exist"
        raise DataError(f"{path} {what}.", "Check the path.")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path} may not be read by this user.", "Check its permissions.")
    size = path.stat().st_size
    if size > max_bytes:
        raise DataError(f"{path} has {size} bytes; at most {max_bytes} are read.")


def _too_large(path: Path | Encoded, max_pixels: int) -> DataError:
    return DataError(f"{path} has more than {max_pixels} pixels.", "Scale it down, or leave it out.")


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz file by name; never unpickles, and checks sizes before allocating.

    Raises:
        DataError: the file is missing, damaged, too large or of another format, or an array contains objects.
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


def read_array(path: Path) -> NDArray[Any]:
    """The array of an .npy file; never unpickles, and checks the size before allocating.

    Raises:
        DataError: as `read_arrays`.
    """
    _check_file(path, MAX_ARRAY_BYTES)
    try:
        with path.open("rb") as stream:
            _check_header(stream, path.name, path.stat().st_size)
            stream.seek(0)
            array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    except _BROKEN as error:
        raise DataError(f"{path} is not a readable .npy file: {error}.", "Write it again.") from error
    return array


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """One array, after its header was checked against the number of bytes."""
    with archive.open(member) as stream:
        _check_header(stream, f"array {member.filename}", member.file_size)
    with archive.open(member) as stream:
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _check_header(stream: IO[bytes], name: str, size: int) -> None:
    """Raises a ValueError if an array contains objects, or its header promises more bytes than there are."""
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"{name} has the format {version}")
    shape, _, dtype = read[version](stream)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"{name} contains objects, or is larger than its file")


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside an archive: name, offset of its bytes, and their number."""

    name: str
    start: int
    size: int


def tar_members(path: Path) -> list[Member]:
    """The regular files of an uncompressed tar, from its headers; nothing is unpacked.

    Raises:
        DataError: the archive is not a plain tar, or a member is a link or a device, is too large, exceeds the file,
            or has a name that leaves the archive; the message names the member.
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
    """The bytes of a member; a DataError if the archive is truncated."""
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
    """Opens a regular file of limited size, for readers of binary formats."""
    _check_file(path, max_bytes)
    return path.open("rb")


def read_json(path: Path | Encoded, max_bytes: int = MAX_LIST_BYTES) -> Any:
    """A JSON document; a DataError if it is missing, damaged, too large or too deeply nested."""
    if isinstance(path, Path):
        _check_file(path, max_bytes)
    content = path.content if isinstance(path, Encoded) else path.read_bytes()
    try:
        found = json.loads(content)
        if _HALF.search(content):
            # raises if a half stands alone, which no file or page could hold
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path} contains half of a character: {error.object[error.start]!r}.", "Save it as UTF-8."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: byte {error.start}.", "Save it as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a JSON document: {error}.", "Download or write it again.") from error


def read_xml(path: Path) -> ElementTree.Element:
    """The root of a small XML document; a DataError if it is damaged or declares a document type."""
    _check_file(path, MAX_DOCUMENT_BYTES)
    content = path.read_bytes()
    if b"\0" in content:
        raise DataError(f"{path} is not UTF-8 text.", "Save it as UTF-8.")
    # nested entities could expand a few lines to gigabytes
    if b"<!" in content.replace(b"<!--", b""):
        raise DataError(f"{path} declares a document type.", "Remove the declarations that begin with <!.")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not an XML document: {error}.", "Download it again.") from error


def read_documents(path: Path, name: str) -> Iterator[Encoded]:
    """The files in a folder and its subfolders, or in a .zip or .tar.gz archive, whose base name matches a pattern.

    Nothing is unpacked to the disk.

    Raises:
        DataError: an archive is damaged, too large or of another format, or a document is too large.
    """
    found = _from_folder(path, name) if path.is_dir() else _from_archive(path, name)
    for count, document in enumerate(found, start=1):
        if count > MAX_DOCUMENTS or len(document.content) > MAX_DOCUMENT_BYTES:
            raise DataError(f"{document} is too large, or one of more than {MAX_DOCUMENTS} documents.")
        yield document


def _from_folder(path: Path, name: str) -> Iterator[Encoded]:
    for found in path.rglob("*"):
        if re.fullmatch(name, found.name):
            _check_file(found, MAX_DOCUMENT_BYTES)
            yield Encoded(str(found), found.read_bytes())


def _from_archive(path: Path, name: str) -> Iterator[Encoded]:
    _check_file(path, MAX_ARCHIVE_BYTES)
    try:
        yield from (_from_zip if zipfile.is_zipfile(path) else _from_tar)(path, name)
    except (tarfile.TarError, zipfile.BadZipFile, NotImplementedError, RuntimeError, *_BROKEN) as error:
        raise DataError(
            f"{path} is not a readable .zip or .tar.gz archive: {error}.", "Download it again, or unpack it."
        ) from error


def _from_zip(path: Path, name: str) -> Iterator[Encoded]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if re.fullmatch(name, PurePosixPath(entry.filename).name):
                with archive.open(entry) as stream:
                    yield Encoded(f"{path}: {entry.filename}", stream.read(MAX_DOCUMENT_BYTES + 1))


def _from_tar(path: Path, name: str) -> Iterator[Encoded]:
    with tarfile.open(path, "r:gz") as archive:
        for entry in archive:
            if entry.offset_data + entry.size > MAX_ARRAY_BYTES:
                raise DataError(
                    f"{path} unpacks to more than {MAX_ARRAY_BYTES} bytes.", "Unpack it yourself."
                )
            stream = archive.extractfile(entry) if entry.isreg() else None
            if stream is not None and re.fullmatch(name, PurePosixPath(entry.name).name):
                yield Encoded(f"{path}: {entry.name}", stream.read(MAX_DOCUMENT_BYTES + 1))
