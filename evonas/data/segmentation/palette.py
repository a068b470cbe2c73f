"""What the values or colours of a mask mean: names of classes, and how they are painted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image

from evonas.data.io.safe import Row, read_rows
from evonas.data.segmentation.base import IGNORE, UNKNOWN, Pixels, looked_up, table
from evonas.errors import DataError, UserError

Unknown = Literal["refuse", "ignore"]
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Legend:
    """Turns masks into class numbers, by value or by colour.

    Args:
        names: of the classes, in the order of their numbers.
        colours: of the classes in the masks; None for masks that hold numbers.
        first: the value of the first class; smaller values have no class, and neither has 255.
        unknown: whether other values and colours are refused or have no class.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...] | None = None
    first: int = 0
    unknown: Unknown = "refuse"

    def __post_init__(self) -> None:
        if not 2 <= len(self.names) <= IGNORE or len(set(self.names)) != len(self.names):
            raise UserError(
                f"data.classes names {len(self.names)} classes, {len(set(self.names))} of them different.",
                f"Two are the least, {IGNORE} the most, and no name may come twice.",
            )
        if self.unknown not in get_args(Unknown):
            raise UserError(f"data.unknown={self.unknown} is unknown.", "Choose refuse or ignore.")
        if self.first < 0 or self.first + len(self.names) > IGNORE:
            raise UserError(f"data.first={self.first} leaves no room for the classes below {IGNORE}.")
        if self.colours is not None and len(set(self.colours)) != len(self.names):
            raise UserError(
                f"{len(self.names)} classes have {len(set(self.colours))} different colours.",
                "Give every class a colour of its own, or none at all.",
            )

    def numbers(self, mask: Image.Image, path: Path) -> Pixels:
        """The classes H W that a mask shows, 255 where there is none.

        Raises:
            DataError: a value or a colour that is no class, unless unknown ones are ignored.
        """
        if self.colours is not None:
            return self._painted(np.asarray(mask.convert("RGB")), path)
        others = range(256) if self.unknown == "ignore" else (*range(self.first), IGNORE)
        known = dict.fromkeys(others, IGNORE)
        known.update({self.first + number: number for number in range(len(self.names))})
        expected = f"Masks hold {self.first}-{self.first + len(self.names) - 1}, and 255 where there is none."
        return looked_up(mask, path, table(known), f"{expected} Or: data.unknown=ignore")

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
                f"{path} holds the colour {found}, which is no class.",
                "Name it in data.classes, or: data.unknown=ignore",
            )
        return np.where(missing, IGNORE, numbers).astype(np.uint8)


def _coded(colours: np.ndarray) -> np.ndarray:
    """Colours ... 3 as one number each."""
    code: np.ndarray = (colours[..., 0] * 256 + colours[..., 1]) * 256 + colours[..., 2]
    return code


def legend(
    classes: str | Sequence[str], palette: Sequence[Sequence[int]] | None, first: int, unknown: Unknown
) -> Legend:
    """The legend of names, or of a text file with a class a line: its name, perhaps red, green and blue.

    Args:
        classes: names, or the path of the file.
        palette: colours in the order of `classes`; those of the file where it is None.
    """
    names, colours = tuple(classes), None
    if isinstance(classes, str):
        names, colours = read_legend(Path(classes))
    if palette is not None:
        colours = tuple(_colour(list(channels), "data.palette") for channels in palette)
    return Legend(names, colours, first, unknown)


def read_legend(path: Path) -> tuple[tuple[str, ...], tuple[Colour, ...] | None]:
    """Names, and colours where every line ends in three numbers; a mixture is a DataError."""
    rows = read_rows(path)
    painted = [_is_painted(row) for row in rows]
    if not any(painted):
        return tuple(" ".join(row.fields) for row in rows), None
    for row, has_colour in zip(rows, painted, strict=True):
        if not has_colour:
            raise DataError(f"{row.where} has no colour, others have.", "A line: name red green blue")
    names = tuple(" ".join(row.fields[:-3]) for row in rows)
    return names, tuple(_colour([int(each) for each in row.fields[-3:]], row.where) for row in rows)


def _is_painted(row: Row) -> bool:
    return len(row.fields) > 3 and all(each.isdecimal() for each in row.fields[-3:])


def _colour(channels: list[int], where: str) -> Colour:
    if len(channels) != 3 or not all(0 <= channel < 256 for channel in channels):
        raise DataError(f"{where}: {channels} is no colour.", "Three numbers from 0 to 255.")
    red, green, blue = channels
    return red, green, blue
