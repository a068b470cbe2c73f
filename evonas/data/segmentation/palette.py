"""The legend of masks: class names, and the values or colours of the classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image

from evonas.data.io.safe import read_rows
from evonas.data.segmentation.base import IGNORE, UNKNOWN, Pixels, looked_up, table
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

    def numbers(self, mask: Image.Image, path: Path) -> Pixels:
        """Class ids H W of a decoded mask, 255 for ignored pixels.

        Raises:
            DataError: the mask has an unknown value or colour, and they are refused.
        """
        if self.colours is not None:
            return self._painted(np.asarray(mask.convert("RGB")), path)
        others = range(256) if self.unknown == "ignore" else (*range(self.first), IGNORE)
        known = dict.fromkeys(others, IGNORE)
        known.update({self.first + number: number for number in range(len(self.names))})
        expected = (
            f"Masks contain {self.first}-{self.first + len(self.names) - 1}, and 255 for ignored pixels."
        )
        return looked_up(mask, path, table(known), f"{expected} To ignore others: data.unknown=ignore")

    def _painted(self, mask: Pixels, path: Path) -> Pixels:
        colours = np.array(self.colours, dtype=np.int64)
        codes, seen = _coded(colours), _coded(mask.astype(np.int64))
        order = np.argsort(codes)
        places = np.minimum(np.searchsorted(codes[order], seen), len(codes) - 1)
        numbers = np.where(codes[order][places] == seen, order[places], UNKNOWN)
        missing = numbers == UNKNOWN
        if missing.any() and self.unknown == "refuse":
            found = tuple(int(channel) for channel in mask[missing][0])
            raise DataError(
                f"{path} contains the unknown colour {found}.",
                "Add it to data.classes, or set data.unknown=ignore.",
            )
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
    names, colours = tuple(classes), None
    if isinstance(classes, str):
        names, colours = read_legend(Path(classes))
    if palette is not None:
        colours = tuple(_colour(list(channels), "data.palette") for channels in palette)
    return Legend(names, colours, first, unknown)


def read_legend(path: Path) -> tuple[tuple[str, ...], tuple[Colour, ...] | None]:
    """Names, and colours if all lines end in three numbers; a DataError if only some do."""
    rows = read_rows(path)
    has_colour = [len(row.fields) > 3 and all(each.isdecimal() for each in row.fields[-3:]) for row in rows]
    if not any(has_colour):
        return tuple(" ".join(row.fields) for row in rows), None
    if not all(has_colour):
        where = rows[has_colour.index(False)].where
        raise DataError(f"{where} has no colour, but other lines have.", "A line is: name red green blue")
    names = tuple(" ".join(row.fields[:-3]) for row in rows)
    return names, tuple(_colour([int(each) for each in row.fields[-3:]], row.where) for row in rows)


def _colour(channels: list[int], where: str) -> Colour:
    if len(channels) != 3 or not all(0 <= channel < 256 for channel in channels):
        raise DataError(f"{where}: a colour must be three integers from 0 to 255, got {channels}.")
    red, green, blue = channels
    return red, green, blue
