"""Run lengths (RLE) of COCO's masks: pixels of background and of foreground in turn, column by column.

Counts are a list of numbers or a text. In a text each character has six bits above the code 48: five bits of a number,
least significant first, and one that says whether more follow; the last group's highest bit is the sign. From the
fourth count on, a number is the difference from the count two before it (https://cocodataset.org/#format-data).
"""

from collections.abc import Sequence
from typing import Any

from evonas.data.io.json_values import integer

_FIRST, _BITS, _MORE, _SIGN = 48, 5, 0x20, 0x10
# bits of the largest count of a picture, and of the difference of two
_MOST_BITS = 40


def run_lengths(counts: Any) -> tuple[int, ...] | None:
    """The counts as numbers; None if they are neither non-negative whole numbers nor a text of them.

    Args:
        counts: `counts` of a document's `segmentation`.
    """
    if isinstance(counts, str):
        return _from_text(counts)
    if not isinstance(counts, list):
        return None
    found = [integer(each) for each in counts]
    return tuple(each for each in found if each is not None) if all(map(_is_count, found)) else None


def _is_count(found: int | None) -> bool:
    return found is not None and found >= 0


def _from_text(text: str) -> tuple[int, ...] | None:
    counts: list[int] = []
    value = shift = 0
    for code in map(ord, text):
        group = code - _FIRST
        if not 0 <= group < 2 * _MORE or shift > _MOST_BITS:
            return None
        value |= (group & (_MORE - 1)) << shift
        shift += _BITS
        if group & _MORE:
            continue
        if group & _SIGN:
            value -= 1 << shift
        if len(counts) > 2:
            value += counts[-2]
        if value < 0:
            return None
        counts.append(value)
        value = shift = 0
    return None if shift else tuple(counts)


def fills(counts: Sequence[int], height: int, width: int) -> bool:
    """Whether run lengths cover every pixel of a picture once."""
    return sum(counts) == height * width
