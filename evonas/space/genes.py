"""Genes of a space: `Axis`, an ordinal decision, and `Bits`, a row of on/off decisions."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

from evonas.errors import UserError

Value = float | int | str

_NAME = re.compile(r"([a-z][a-z_]*)(\d*)\Z")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")


@dataclass(frozen=True, slots=True)
class Axis:
    """An ordinal decision, from the smallest choice to the largest.

    Args:
        name: a prefix and a number (`m1`); the text form groups axes by prefix.
        choices: distinct choices; numbers ascend, words keep the given order.
        expressed_by: condition of the axis: `d1` (any bit of `d1`), `d1.3` (its third bit), or a comparison of another
            axis with a number (`d2>=3`, also <=, == and !=) or a word (`op1==conv`, also !=). None: always expressed.

    Raises:
        UserError: the name is invalid, or choices are empty, repeated or unordered.
    """

    name: str
    choices: tuple[Value, ...]
    expressed_by: str | None = None

    def __post_init__(self) -> None:
        prefix_of(self.name)
        if not self.choices:
            raise UserError(f"Axis {self.name} has no choices.", f"Give it some, as in {self.name}=[1, 2].")
        for choice in self.choices:
            _check_choice(self.name, choice)
        numbers = [choice for choice in self.choices if not isinstance(choice, str)]
        if numbers and len(numbers) < len(self.choices):
            raise UserError(f"Axis {self.name} mixes words and numbers: {self.allowed()}.", "Use one kind.")
        if len(set(self.choices)) < len(self.choices) or numbers != sorted(numbers):
            raise UserError(
                f"The choices of axis {self.name} are not in ascending order: {self.allowed()}.",
                "List each choice once, smallest first.",
            )

    @property
    def width(self) -> int:
        """Number of positions in the layout."""
        return 1

    @property
    def cardinality(self) -> int:
        """The number of choices."""
        return len(self.choices)

    def index(self, value: object) -> int:
        """The index of a choice; floats match within 1e-9, so 0.1 + 0.2 finds 0.3.

        Raises:
            UserError: the value is not one of the choices.
        """
        for index, choice in enumerate(self.choices):
            if same_choice(choice, value):
                return index
        raise UserError(
            f"{self.name}={_show(value)} is not in the space.", f"{self.name} may be: {self.allowed()}."
        )

    def indices(self, value: object) -> list[int]:
        """The layout of a value."""
        return [self.index(value)]

    def value(self, indices: tuple[int, ...]) -> Value:
        """The choice of a layout."""
        return self.choices[indices[0]]

    def settings(self) -> list[tuple[int, ...]]:
        """All layouts, ascending."""
        return [(index,) for index in range(len(self.choices))]

    def read(self, word: str) -> Value:
        """The choice of a word of the text form."""
        try:
            return self.choices[self.index(word if isinstance(self.choices[0], str) else float(word))]
        except ValueError:
            return self.choices[self.index(word)]

    def show(self, value: Value) -> str:
        """A choice as text, such as '4' for 4.0; the inverse of `read`."""
        return _show(value)

    def allowed(self) -> str:
        """The choices as text, for messages."""
        return ", ".join(map(_show, self.choices))


@dataclass(frozen=True, slots=True)
class Bits:
    """A row of on/off decisions; `d1` has the bits `d1.1`, `d1.2` and so on.

    Args:
        name: a prefix and a number.
        length: number of bits.
        minimum: minimum number of ones.

    Raises:
        UserError: the name is invalid, or a number is out of range.
    """

    name: str
    length: int
    minimum: int = 1

    def __post_init__(self) -> None:
        prefix_of(self.name)
        if self.length < 1 or not 0 <= self.minimum <= self.length:
            raise UserError(
                f"Bits {self.name} cannot have length {self.length} and minimum {self.minimum}.",
                "The length is at least 1, the minimum between 0 and the length.",
            )

    @property
    def width(self) -> int:
        """Number of positions in the layout."""
        return self.length

    @property
    def cardinality(self) -> int:
        """The number of values of one bit."""
        return 2

    def indices(self, value: Iterable[Any]) -> list[int]:
        """The layout of bits, given as 0 and 1 or as booleans.

        Raises:
            UserError: the number of bits is wrong, or a value is neither 0 nor 1.
        """
        bits = list(value)
        if len(bits) != self.length or any(bit not in (0, 1) for bit in bits):
            raise UserError(f"{self.name}={bits} is not in the space.", f"{self.name} is {self.allowed()}.")
        return [int(bit) for bit in bits]

    def value(self, indices: tuple[int, ...]) -> tuple[bool, ...]:
        """The bits as booleans."""
        return tuple(map(bool, indices))

    def settings(self) -> list[tuple[int, ...]]:
        """All rows with enough ones, ascending."""
        return [row for row in product((0, 1), repeat=self.length) if sum(row) >= self.minimum]

    def read(self, word: str) -> tuple[bool, ...]:
        """The bits of a word of the text form."""
        if len(word) != self.length or set(word) - {"0", "1"}:
            raise UserError(
                f"{self.name}={word[:80]} is not in the space.", f"{self.name} is {self.allowed()}."
            )
        return tuple(digit == "1" for digit in word)

    def show(self, value: Iterable[bool]) -> str:
        """The bits as digits."""
        return "".join("1" if bit else "0" for bit in value)

    def allowed(self) -> str:
        """The allowed digits as text, for messages."""
        return f"{self.length} digits 0 or 1, at least {self.minimum} of them 1"


Gene = Axis | Bits


def prefix_of(name: str) -> str:
    """The letters of a gene's name: `m` of `m1`.

    Raises:
        UserError: the name is not lower-case letters followed by an optional number.
    """
    match = _NAME.match(name)
    if match is None:
        raise UserError(f"{name!r} cannot name a gene.", "Use a prefix and a number, as in m1 or depth3.")
    return match.group(1)


def _show(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _check_choice(name: str, choice: object) -> None:
    if isinstance(choice, str) and _WORD.match(choice):
        return
    if isinstance(choice, int | float) and not isinstance(choice, bool) and math.isfinite(choice):
        return
    raise UserError(
        f"{choice!r} cannot be a choice of {name}.",
        "Choices are finite numbers, or words of letters, digits, '_' and '-'.",
    )


def same_choice(choice: Value, value: object) -> bool:
    """Whether a value equals a choice; numbers match within 1e-9."""
    if isinstance(choice, str) or not isinstance(value, int | float) or isinstance(value, bool):
        return choice == value and not isinstance(value, bool)
    return math.isclose(choice, value, rel_tol=1e-9, abs_tol=1e-12)
