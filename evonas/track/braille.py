"""Scatter plot in a terminal with Unicode braille patterns: 2 x 4 dots per character."""

from collections.abc import Sequence

WIDTH, HEIGHT = 60, 12
_FIRST = 0x2800
# the bit of each dot of a character, by row and column (Unicode standard, chapter 21.1)
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
MARK = "*"


def scatter(
    across: Sequence[float],
    up: Sequence[float],
    marked: Sequence[int] = (),
    names: tuple[str, str] = ("", ""),
) -> list[str]:
    """Lines of a scatter plot; characters with a marked point are stars.

    Args:
        across: finite x coordinates.
        up: finite y coordinates.
        marked: indices of marked points.
        names: names of the x and the y axis.
    """
    if not len(across):
        return []
    columns = _placed(across, 2 * WIDTH)
    rows = [4 * HEIGHT - 1 - row for row in _placed(up, 4 * HEIGHT)]
    cells = [[0] * WIDTH for _ in range(HEIGHT)]
    for column, row in zip(columns, rows, strict=True):
        cells[row // 4][column // 2] |= _BITS[row % 4][column % 2]
    lines = [[chr(_FIRST + bits) for bits in line] for line in cells]
    for place in marked:
        lines[rows[place] // 4][columns[place] // 2] = MARK
    return [
        f"{names[1]} {min(up):.4g} to {max(up):.4g}, upwards",
        *("|" + "".join(line) for line in lines),
        "+" + "-" * WIDTH,
        f" {names[0]} {min(across):.4g} to {max(across):.4g}, to the right; {MARK} is on the front",
    ]


def _placed(values: Sequence[float], dots: int) -> list[int]:
    """Index of the dot of each value among `dots` dots; constant values are at 0."""
    low, width = min(values), max(values) - min(values)
    return [round((value - low) / width * (dots - 1)) if width else 0 for value in values]
