"""The legend of masks: class names, and the values or colours of the classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from evonas.data.io.safe import read_rows
from evonas.data.segmentation.base import IGNORE, UNKNOWN, Pixels, Stored, looked_up, table
from evonas.errors import DataError, UserError

Unknown = Literal["refuse", "ignore"]
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Legend:
    """Maps masks to class ids, by value or by colour.

    Args:
        names: class names in the order of their ids.
        colours: colours of the classes in the masks; None for masks of class ids.
        first: value of the first class; smaller values and 255 are ignored.
        unknown: `refuse` or `ignore` other values and colours.

    Raises:
        UserError: there are fewer than two classes or too many, or names or colours are not distinct.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...] | None = None
    first: int = 0
    unknown: Unknown = "refuse"

    def __post_init__(self) -> None:
        if not 2 <= len(self.names) <= IGNORE or len(set(self.names)) != len(self.names):
            raise UserError(
                f"data.classes must be 2 to {IGNORE} distinct names, got {len(self.names)} names, "
                f"{len(set(self.names))} of them distinct.",
            )
        if not all(name.strip() for name in self.names):
            raise UserError("data.classes contains an empty name.", "Name every class.")
        if self.unknown not in get_args(Unknown):
            raise UserError(f"data.unknown={self.unknown} is unknown.", "Choose refuse or ignore.")
        if self.first < 0 or self.first + len(self.names) > IGNORE:
            most = IGNORE - len(self.names)
            raise UserError(
                f"data.first must be in [0, {most}] for {len(self.names)} classes, got {self.first}."
            )
        if self.colours is not None and len(set(self.colours)) != len(self.names):
            raise UserError(
                f"{len(self.names)} classes have {len(set(self.colours))} distinct colours.",
                "Give each class its own colour, or give no colours.",
            )

    def class_ids(self, stored: Stored, path: Path) -> Pixels:
        """Class ids H W of the content of a mask file, 255 for ignored pixels.

        Args:
            stored: colours H W 3 with `colours`, otherwise numbers H W.
            path: path of the mask, for messages.

        Raises:
            DataError: the mask has an unknown value or colour, and they are refused.
        """
        if self.colours is not None:
            return self._painted(stored, path)
        known = dict.fromkeys((*range(self.first), IGNORE), IGNORE)
        known.update({self.first + number: number for number in range(len(self.names))})
        last = self.first + len(self.names) - 1
        expected = f"Masks contain {self.first}-{last}, and 255 for ignored pixels."
        expected += " To ignore others: data.unknown=ignore"
        if (
            self.unknown == "refuse"
            and self.first == 0
            and stored[stored != IGNORE].max(initial=0) == last + 1
        ):
            expected = f"If the first class is 1 in the masks, and 0 is unlabelled: data.first=1. {expected}"
        elif self.unknown == "refuse" and stored[stored != IGNORE].max(initial=0) > max(100, 2 * last):
            expected += (
                ". If the masks are painted in grey levels, say these: 'data.palette=[[0,0,0],[255,255,255]]'"
            )
        ids = table(known, IGNORE if self.unknown == "ignore" else UNKNOWN)
        return looked_up(stored, path, ids, expected)

    def hint(self, seen: set[int]) -> str:
        """What to type if the numbers in masks suggest another legend; empty if they do not.

        Args:
            seen: all numbers in the masks.
        """
        if self.colours is not None:
            return ""
        values = seen - {IGNORE}
        if IGNORE in seen and len(values) < 2 and len(self.names) == 2:
            dark = min(values, default=0)
            return (
                f"255 means ignored pixels in masks of class ids. If it is '{self.names[1]}', say the grey levels of "
                f"the classes: 'data.palette=[[{dark},{dark},{dark}],[255,255,255]]'"
            )
        if self.first == 0 and values and 0 not in values:
            return "No mask contains 0. If the first class is 1 in the masks: data.first=1"
        if values and min(values) < self.first and self.first + len(self.names) - 1 not in values:
            least = min(values)
            return f"{least} counts as unlabelled. If it is the first class in the masks: data.first={least}"
        return ""

    def _painted(self, mask: Stored, path: Path) -> Pixels:
        colours = np.array(self.colours, dtype=np.int64)
        codes, seen = _coded(colours), _coded(mask.astype(np.int64))
        order = np.argsort(codes)
        places = np.minimum(np.searchsorted(codes[order], seen), len(codes) - 1)
        numbers = np.where(codes[order][places] == seen, order[places], UNKNOWN)
        missing = numbers == UNKNOWN
        if missing.any() and self.unknown == "refuse":
            found = [tuple(map(int, each)) for each in np.unique(mask[missing], axis=0)]
            shown = ", ".join(map(str, found[:5])) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
            what = (
                f"the unknown colour {shown}" if len(found) == 1 else f"{len(found)} unknown colours: {shown}"
            )
            hint = "Add them to data.palette, or set data.unknown=ignore."
            if len(found) >= len(codes):
                hint += (
                    " Many colours between those of the classes come from smooth edges: export without them."
                )
            raise DataError(f"{path} contains {what}.", hint)
        return np.where(missing, IGNORE, numbers).astype(np.uint8)


def _coded(colours: np.ndarray) -> np.ndarray:
    """Colours ... 3 as one integer each."""
    code: np.ndarray = (colours[..., 0] * 256 + colours[..., 1]) * 256 + colours[..., 2]
    return code


def legend(
    classes: str | Sequence[str], palette: Sequence[Sequence[int]] | None, first: int, unknown: Unknown
) -> Legend:
    """The legend of class names, or of a text file.

    Args:
        classes: names, or the path of a file with one class per line: its name, optionally with red, green and blue.
        palette: colours in the order of `classes`; None for those of the file.
        first: see `Legend`.
        unknown: see `Legend`.
    """
    names, colours = tuple(str(each).strip() for each in classes), None
    if isinstance(classes, str):
        names, colours = read_legend(Path(classes))
    if palette is not None:
        colours = tuple(_colour(list(channels), "data.palette") for channels in palette)
    return Legend(names, colours, first, unknown)


def read_legend(path: Path) -> tuple[tuple[str, ...], tuple[Colour, ...] | None]:
    """Names, and colours if all lines end in three numbers.

    Raises:
        DataError: only some lines have a colour, a line is a colour without a name, or all lines begin with a number,
            which would become a part of the name.
    """
    rows = read_rows(path)
    numbered = [len(row.fields) > 1 and row.fields[0].rstrip(":.,").isdecimal() for row in rows]
    if rows and all(numbered):
        raise DataError(
            f"{rows[0].where} begins with the number {rows[0].fields[0]}, as all lines do.",
            "A line is a name, or: name red green blue. Write the names in the order of their numbers, without "
            "these; if the first number is not 0: data.first=<number>",
        )
    has_colour = [len(row.fields) > 3 and all(each.isdecimal() for each in row.fields[-3:]) for row in rows]
    if not any(has_colour):
        return tuple(" ".join(row.fields) for row in rows), None
    if not all(has_colour):
        where = rows[has_colour.index(False)].where
        raise DataError(f"{where} has no colour, but other lines have.", "A line is: name red green blue")
    names = tuple(" ".join(row.fields[:-3]) for row in rows)
    return names, tuple(_colour([int(each) for each in row.fields[-3:]], row.where) for row in rows)


def _colour(channels: list[int], where: str) -> Colour:
    if len(channels) != 3 or not all(isinstance(each, int) and 0 <= each < 256 for each in channels):
        raise DataError(f"{where}: a colour must be three integers from 0 to 255, got {channels}.")
    red, green, blue = channels
    return red, green, blue
