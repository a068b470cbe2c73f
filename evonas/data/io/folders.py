"""The images of a folder, and what else lies there: files that are passed over are counted, never lost in silence."""

import errno
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evonas.data.io.pictures import SUFFIXES
from evonas.errors import DataError

log = logging.getLogger(__name__)

# files that systems and tools leave behind
_LITTER = ("thumbs.db", "desktop.ini")


@dataclass(frozen=True, slots=True)
class Listing:
    """The content of a folder.

    Args:
        images: files with a suffix of PNG or JPEG, sorted by name.
        skipped: all other files and folders, except hidden ones, sorted by name.
    """

    images: tuple[Path, ...]
    skipped: tuple[Path, ...]


def list_images(folder: Path, levels: int = 0, suffixes: Sequence[str] = SUFFIXES) -> Listing:
    """Lists a folder, without its subfolders or with some levels of them.

    Args:
        folder: the folder.
        levels: how many folders deep images are looked for; deeper folders are skipped.
        suffixes: suffixes of what counts as an image, in lower case.

    Raises:
        DataError: the folder cannot be listed, an image is a link that leads nowhere, or its name is not UTF-8.
    """
    images: list[Path] = []
    skipped: list[Path] = []
    for entry in listed(folder):
        path = Path(entry.path)
        if levels and is_folder(entry):
            below = list_images(path, levels - 1, suffixes)
            images += below.images
            skipped += below.skipped
        elif path.suffix.lower() in suffixes and not is_folder(entry):
            if not leads_somewhere(entry):
                raise DataError(f"{path} is a link to a file that does not exist.", "Complete the download.")
            if not path.name.isascii():
                _refuse_other_encodings(path)
            images.append(path)
        elif path.name.lower() not in _LITTER:
            skipped.append(path)
    return Listing(tuple(sorted(images)), tuple(sorted(skipped)))


def _refuse_other_encodings(path: Path) -> None:
    """Refuses a name that is not UTF-8, which neither a page nor a manifest could hold."""
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"The name of the file {os.fsencode(path.name)!r} in {path.parent} is not UTF-8.",
            "Rename it, for example with: convmv -f latin1 -t utf8 --notest -r <folder>",
        ) from error


def listed(folder: Path, may_be_missing: bool = False) -> list[os.DirEntry[str]]:
    """The entries of a folder except hidden ones, in any order.

    Args:
        folder: the folder.
        may_be_missing: whether a folder that does not exist counts as empty.

    Raises:
        DataError: the folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        if may_be_missing and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            return []
        raise DataError(f"{folder} cannot be listed: {error.strerror}.", "Check its permissions.") from error


def leads_somewhere(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is no link, or one to something that exists; asks the disk for links alone."""
    return not entry.is_symlink() or Path(entry.path).exists()


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one; links that lead to one another are none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def counted(skipped: Iterable[Path]) -> str:
    """What was skipped as text, such as `3 .webp files and 1 folder`."""
    kinds = Counter("folder" if path.is_dir() else f"{path.suffix.lower()} file".strip() for path in skipped)
    each = [f"{number} {kind}{'s' if number > 1 else ''}" for kind, number in sorted(kinds.items())]
    return " and ".join([", ".join(each[:-1]), each[-1]] if len(each) > 1 else each)


def warn_of_skipped(
    skipped: Iterable[Path],
    where: Path,
    expected: str = f"PNG and JPEG images ({' '.join(SUFFIXES)}) are read",
) -> None:
    """Logs one warning about what was skipped below a folder, unless that is nothing."""
    skipped = tuple(skipped)
    if skipped:
        log.warning(
            "Skipped: %s in %s, such as %s; %s.",
            counted(skipped),
            where,
            skipped[0].name,
            expected,
        )
