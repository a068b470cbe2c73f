"""Numbers of foreign documents, which many programs write as other types: 128.0 for 128, "0" for 0.

A value that is exactly a number is read as that number, and everything else is refused by the caller, with the value.
"""

import math
import re
from typing import Any

# a decimal number, so that words such as "nan" and "infinity", which `float` reads, are none
_DECIMAL = re.compile(r"[+-]?[0-9]{1,32}(\.[0-9]{0,32})?([eE][+-]?[0-9]{1,3})?")
# the largest float below which every whole number has one float
_EXACT = 2.0**53
_SHOWN = 80


def number(value: Any) -> float | None:
    """The value as a finite float; None if it is another type, not finite, or too large for a float."""
    if isinstance(value, str):
        value = float(value) if _DECIMAL.fullmatch(value.strip()) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def integer(value: Any) -> int | None:
    """The value as an int, if it is exactly one (3, 3.0, "3"); None otherwise."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = number(value)
    return int(found) if found is not None and found.is_integer() and abs(found) <= _EXACT else None


def flag(value: Any) -> bool | None:
    """The value as a truth value (false, true, 0, 1, 0.0, "1"); None otherwise."""
    if isinstance(value, bool):
        return value
    found = integer(value)
    return bool(found) if found in (0, 1) else None


def shown(value: Any) -> str:
    """The value in a message, shortened."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
