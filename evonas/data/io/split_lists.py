"""Lists of frames: what a split holds, whether its files are there, and which of them are held out."""

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evonas.data.io.safe import Row, read_rows
from evonas.errors import DataError, UserError
from evonas.randomness import generator

log = logging.getLogger(__name__)

NOTHING = "None"


@dataclass(frozen=True, slots=True, order=True)
class Frame:
    """An image and its truth on disk; `group` is the drive, scene or city that is never split."""

    group: str
    image: Path
    truth: Path


class Folders:
    """The names in folders, each folder listed once; a folder that is not there is empty."""

    def __init__(self) -> None:
        self._names: dict[Path, frozenset[str]] = {}

    def names(self, folder: Path) -> frozenset[str]:
        """Names of everything in the folder but hidden files."""
        if folder not in self._names:
            try:
                found = frozenset(path.name for path in folder.iterdir() if not path.name.startswith("."))
            except (FileNotFoundError, NotADirectoryError):
                found = frozenset()
            except OSError as error:
                raise DataError(
                    f"{folder} cannot be listed: {error.strerror}.", "Check its rights."
                ) from error
            self._names[folder] = found
        return self._names[folder]

    def has(self, path: Path) -> bool:
        """Whether the file is listed in its folder."""
        return path.name in self.names(path.parent)


def list_of(folder: str | None, names: Sequence[str]) -> Path | None:
    """The first list of these names in the user's folder; None where there is no folder or no such list."""
    if folder is None:
        return None
    if not Path(folder).is_dir():
        raise DataError(f"data.lists={folder} is not a folder.", f"It should hold {names[0]}.")
    return next((path for name in names if (path := Path(folder) / name).exists()), None)


def listed(
    path: Path,
    image: re.Pattern[str],
    truth: re.Pattern[str] | None,
    frame: Callable[[dict[str, str]], Frame],
) -> list[Frame]:
    """The frames a list names; images without ground truth (`None`) are left out, and counted in one warning.

    Only the parts that the patterns name are used, never the words as paths, so a list
    cannot reach a file outside the layout. Further columns (focal length, dense depth) are
    not read.

    Args:
        image: matches the whole first word; its groups describe the frame.
        truth: matches the whole second word; groups of the same name must agree. None for
            lists of one column.
        frame: from the groups of `image` to the files.

    Errors: DataError naming the line.
    """
    rows = read_rows(path, columns=1 if truth is None else 2)
    described = [_described(row, image, truth) for row in rows]
    scored = [groups for groups in described if groups is not None]
    if not scored:
        raise DataError(f"{path} names no image with ground truth.", "Use the published list.")
    if len(scored) < len(rows):
        without, total = len(rows) - len(scored), len(rows)
        log.warning("Not used: %d of %d images in %s, which have no ground truth.", without, total, path.name)
    return [frame(groups) for groups in scored]


def _described(row: Row, image: re.Pattern[str], truth: re.Pattern[str] | None) -> dict[str, str] | None:
    """The groups of a line; None where it has no ground truth."""
    groups = _matched(row, row.fields[0], image)
    if truth is None:
        return groups
    if row.fields[1] == NOTHING:
        return None
    other = _matched(row, row.fields[1], truth)
    if any(groups.get(name) != value for name, value in other.items()):
        raise DataError(
            f"{row.where} pairs {row.fields[0]} with {row.fields[1]}, which is another frame.",
            "Image and ground truth must show the same frame.",
        )
    return groups


def _matched(row: Row, word: str, pattern: re.Pattern[str]) -> dict[str, str]:
    match = pattern.fullmatch(word.removeprefix("/"))
    if match is None:
        raise DataError(
            f"{row.where} contains {word!r}, which is not a file of this data set.", "Correct the line."
        )
    return {name: value for name, value in match.groupdict().items() if value is not None}


def check_present(frames: Sequence[Frame], folders: Folders, where: str) -> None:
    """Refuse a split of which files are missing, before hours of training meet the first one.

    Args:
        where: names the split in the message.
    """
    missing = [path for frame in frames for path in (frame.image, frame.truth) if not folders.has(path)]
    if missing:
        shown = ", ".join(str(path) for path in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(
            f"{where}: {len(missing)} of {2 * len(frames)} files are missing: {shown}{more}.",
            "Complete the download, or remove these lines from the list.",
        )


def hold_out(
    frames: Iterable[Frame], share: float, seed: int, at_most: int
) -> tuple[list[Frame], list[Frame]]:
    """Training frames and held-out frames, cut between whole groups.

    Groups are visited in an order drawn from the seed; one is held out if the held-out
    frames stay within `share` of all. If none is that small, the smallest is.

    Args:
        share: of all frames, above 0 and below 1.
        at_most: so many held-out frames are kept, evenly spaced, for neighbours are nearly equal.
    """
    if not 0 < share < 1:
        raise UserError(f"data.holdout must be in (0, 1), got {share}.", "Try data.holdout=0.05.")
    if at_most < 1:
        raise UserError(
            f"data.holdout_images must be at least 1, got {at_most}.", "Try data.holdout_images=650."
        )
    groups: dict[str, list[Frame]] = {}
    for frame in sorted(frames):
        groups.setdefault(frame.group, []).append(frame)
    if len(groups) < 2:
        raise DataError(
            f"The holdout split needs two drives or scenes; all training frames are of "
            f"{next(iter(groups), 'no drive')}.",
            "Add frames of another drive or scene.",
        )
    held = _drawn({name: len(group) for name, group in groups.items()}, share, seed)
    kept = [frame for name, group in groups.items() if name not in held for frame in group]
    out = [frame for name, group in groups.items() if name in held for frame in group]
    return kept, thinned(out, at_most)


def _drawn(sizes: dict[str, int], share: float, seed: int) -> set[str]:
    names, room, held = sorted(sizes), share * sum(sizes.values()), set()
    for place in generator(seed, "holdout").permutation(len(names)):
        name = names[place]
        if sizes[name] <= room:
            held.add(name)
            room -= sizes[name]
    return held or {min(names, key=lambda name: (sizes[name], name))}


def thinned(frames: Sequence[Frame], at_most: int) -> list[Frame]:
    """At most so many of them, evenly spaced, first and last included where there are two or more."""
    if len(frames) <= at_most:
        return list(frames)
    return [frames[place] for place in np.linspace(0, len(frames) - 1, at_most).round().astype(int)]
