"""Lists of image and ground truth files: reading published lists, checking files, cutting a validation split."""

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evonas.data.io.folders import leads_somewhere
from evonas.data.io.folders import listed as listed_entries
from evonas.data.io.groups import held_groups, refuse_one_group
from evonas.data.io.safe import Row, composed, read_rows
from evonas.errors import DataError, UserError

log = logging.getLogger(__name__)

NOTHING = "None"


@dataclass(frozen=True, slots=True, order=True)
class Frame:
    """An image and its ground truth on disk; `group` is a drive, scene or city, which lies in one split."""

    group: str
    image: Path
    truth: Path


class MissingFilesError(DataError):
    """Files of a split are missing, which is refused before any training, whichever split it is."""


class Folders:
    """The names in folders, each listed once; a missing folder counts as empty."""

    def __init__(self) -> None:
        self._names: dict[Path, frozenset[str]] = {}

    def names(self, folder: Path) -> frozenset[str]:
        """Names of all entries of the folder except hidden ones and links that lead nowhere."""
        if folder not in self._names:
            entries = listed_entries(folder, may_be_missing=True)
            self._names[folder] = frozenset(entry.name for entry in entries if leads_somewhere(entry))
        return self._names[folder]

    def has(self, path: Path) -> bool:
        """Whether the file is in its folder."""
        return path.name in self.names(path.parent)


def list_of(folder: str | None, names: Sequence[str], known: Sequence[str]) -> Path | None:
    """The first existing list of these names in a folder; None without a folder or such a list.

    Args:
        folder: `data.lists`.
        names: possible names of the list.
        known: names of all lists of the data set.

    Raises:
        DataError: `folder` is not a folder, or contains no known list, so that it would have no effect.
    """
    if folder is None:
        return None
    place = Path(folder)
    if not place.is_dir():
        raise DataError(f"data.lists={folder} is not a folder.", f"Expected: a folder of {names[0]}.")
    if not any((place / name).exists() for name in known):
        raise DataError(
            f"data.lists={folder} contains no list of this data set ({', '.join(known)}), but {_content(place)}.",
            "Give the list one of these names, or leave out data.lists to use all frames in the folders.",
        )
    found = next((path for name in names if (path := place / name).exists()), None)
    if found is None:
        log.warning("%s contains no %s; it contains %s.", place, " or ".join(names), _content(place))
    return found


def _content(folder: Path) -> str:
    """The first names in a folder, for messages."""
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}" if names else "nothing"


def listed(
    path: Path,
    image: re.Pattern[str],
    truth: re.Pattern[str] | None,
    frame: Callable[[dict[str, str]], Frame],
) -> list[Frame]:
    """The frames of a published list; images without ground truth (`None`) are skipped with one warning.

    Words are matched against patterns and never used as paths, so that a list cannot reach a file outside the layout.
    Further columns (focal length, dense depth) are not read.

    Args:
        path: the list, one frame per line.
        image: pattern of the whole first word; its groups describe the frame.
        truth: pattern of the whole second word, whose groups must equal those of `image` with the same name. None
            for lists of one column.
        frame: maps the groups of `image` to the files.

    Raises:
        DataError: a line does not match, or no image has ground truth.
    """
    rows = read_rows(path, columns=1 if truth is None else 2)
    frames: list[Frame] = []
    for row in rows:
        groups = _matched(row, row.fields[0], image)
        if truth is not None:
            if row.fields[1] == NOTHING:
                continue
            other = _matched(row, row.fields[1], truth)
            if any(groups.get(name) != value for name, value in other.items()):
                raise DataError(
                    f"{row.where} pairs {row.fields[0]} with {row.fields[1]}, which is another frame.",
                    "Image and ground truth must show the same frame.",
                )
        frames.append(frame(groups))
    if not frames:
        raise DataError(f"{path} names no image with ground truth.", "Use the published list.")
    if len(frames) < len(rows):
        skipped, total = len(rows) - len(frames), len(rows)
        log.warning("Skipped: %d of %d images in %s, which have no ground truth.", skipped, total, path.name)
    return frames


def _matched(row: Row, word: str, pattern: re.Pattern[str]) -> dict[str, str]:
    match = pattern.fullmatch(word.removeprefix("/"))
    if match is None:
        raise DataError(
            f"{row.where} contains {word!r}, which is not a file of this data set.", "Correct the line."
        )
    return {name: value for name, value in match.groupdict().items() if value is not None}


def check_present(frames: Sequence[Frame], folders: Folders, where: str) -> None:
    """Raises a DataError if files of a split are missing, so that it does not happen during training.

    Args:
        frames: the split.
        folders: cache of the folders' names.
        where: name of the split, for the message.
    """
    missing = [path for frame in frames for path in (frame.image, frame.truth) if not folders.has(path)]
    refuse_missing(missing, 2 * len(frames), where)


def refuse_missing(missing: Sequence[Path], total: int, where: str) -> None:
    """Raises MissingFilesError with the first of the missing files, unless there are none.

    Args:
        missing: files that a list or document names.
        total: number of files that it names.
        where: the list or document, for the message.
    """
    if missing:
        shown = ", ".join(str(path) for path in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise MissingFilesError(
            f"{where}: {len(missing)} of {total} files are missing: {shown}{more}.",
            "Complete the download, or remove these lines from the list.",
        )


def refuse_shared(
    first: Iterable[Path], second: Iterable[Path], splits: tuple[str, str], what: str = "images"
) -> None:
    """Raises a DataError if two splits share files, because a score on training images means nothing.

    A file with several names, by symbolic or hard links, is one file; copies are found by `stage=check`.

    Args:
        first, second: the files of each split.
        splits: their names, for the message.
        what: what the files are, for the message.
    """
    folders: dict[Path, Path] = {}

    def located(paths: Iterable[Path]) -> dict[tuple[object, object], Path]:
        """Files by device and number on it; those that the disk does not number by folder and name."""
        found: dict[tuple[object, object], Path] = {}
        for path in paths:
            number = number_on_disk(path)
            if number is None:
                if path.parent not in folders:
                    folders[path.parent] = path.parent.resolve()
                number = folders[path.parent], composed(path.name)
            found[number] = path
        return found

    one, other = located(first), located(second)
    shared = sorted(
        str(one[key]) if one[key] == other[key] else f"{one[key]} (also named {other[key]})"
        for key in one.keys() & other.keys()
    )
    if shared:
        shown = ", ".join(shared[:3])
        more = f" and {len(shared) - 3} more" if len(shared) > 3 else ""
        raise DataError(
            f"The splits {splits[0]} and {splits[1]} share {len(shared)} of {len(other)} {what}: {shown}{more}.",
            f"Splits must be disjoint: remove these {what} from one of them.",
        )


def number_on_disk(path: Path) -> tuple[object, object] | None:
    """Device and number of a file, after links; None if it is missing or its file system numbers no files."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino) if found.st_ino else None


def hold_out(
    frames: Iterable[Frame], share: float, seed: int, at_most: int, by: str | int | None = None
) -> tuple[list[Frame], list[Frame]]:
    """Cuts frames into training and validation frames, between whole groups; see `held_groups`.

    Args:
        frames: all training frames.
        share: maximum share of held-out frames, in (0, 1).
        seed: seed of the order.
        at_most: maximum number of validation frames; they are evenly spaced, because neighbours are nearly equal.
        by: the rule that made the groups, for messages; None for that of the data set.

    Raises:
        UserError: share or at_most is out of range.
        DataError: there are fewer than two groups.
    """
    if not 0 < share < 1:
        raise UserError(f"data.validation must be in (0, 1), got {share}.", "Try data.validation=0.05.")
    if at_most < 1:
        raise UserError(
            f"data.validation_images must be at least 1, got {at_most}.", "Try data.validation_images=650."
        )
    ordered = sorted(frames)
    groups = [frame.group for frame in ordered]
    refuse_one_group(groups, by)
    held = held_groups(groups, share, seed)
    kept = [frame for frame, is_held in zip(ordered, held, strict=True) if not is_held]
    out = [frame for frame, is_held in zip(ordered, held, strict=True) if is_held]
    return kept, thinned(out, at_most)


def thinned(frames: Sequence[Frame], at_most: int) -> list[Frame]:
    """At most `at_most` of the frames, evenly spaced, including the first and the last."""
    if len(frames) <= at_most:
        return list(frames)
    return [frames[place] for place in np.linspace(0, len(frames) - 1, at_most).round().astype(int)]
