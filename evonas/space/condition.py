"""Conditions of conditional genes, parsed from `Axis.expressed_by`."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evonas.errors import UserError
from evonas.space.genes import Axis, Bits, Gene, same_choice

_FORM = re.compile(r"\s*([a-z][a-z_]*\d*)\s*(?:\.(\d+)|(>=|<=|==|!=)\s*(\S+))?\s*\Z")
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {">=": operator.gt, "<=": operator.lt}


@dataclass(frozen=True, slots=True)
class Condition:
    """The condition of an axis: it is expressed if any of `places` has a value in `held`.

    Args:
        axis: name of the conditional axis.
        on: name of the gene that decides.
        places: positions of `on` in the layout.
        held: values for which the condition holds.
    """

    axis: str
    on: str
    places: range
    held: frozenset[int]


def condition_of(axis: Axis, genes: Sequence[Gene], spans: Mapping[str, slice]) -> Condition | None:
    """The condition of an axis; None if it is always expressed.

    Args:
        axis: the axis.
        genes: genes of the space.
        spans: position of each gene in the layout.

    Raises:
        UserError: the condition refers to no bit and no choice, or never holds.
    """
    if axis.expressed_by is None:
        return None
    found = _FORM.match(axis.expressed_by)
    name, number, sign, value = found.groups(default="") if found else ("", "", "", "")
    on = {gene.name: gene for gene in genes}.get(name)
    start = spans[name].start if on is not None else 0
    if isinstance(on, Bits) and not sign and (not number or 1 <= int(number) <= on.length):
        places = range(start, start + on.length)
        return Condition(axis.name, name, places[int(number) - 1 :][:1] if number else places, frozenset({1}))
    if isinstance(on, Axis) and sign:
        return Condition(axis.name, name, range(start, start + 1), _held(axis, on, sign, value))
    raise UserError(
        f"Axis {axis.name} is expressed by {axis.expressed_by!r}, which names no bit and no choice.",
        "Name bits (d1), one bit counted from 1 (d1.3), or compare another axis (d2>=3, op1==conv).",
    )


def _held(axis: Axis, on: Axis, sign: str, text: str) -> frozenset[int]:
    """The indices of the choices of `on` for which a comparison holds."""
    if isinstance(on.choices[0], str):
        if sign in _ORDERS or text not in on.choices:
            raise UserError(
                f"Axis {axis.name} is expressed by {axis.expressed_by!r}, but {on.name} holds words.",
                f"Use == or != with one of: {on.allowed()}.",
            )
        value: float | str = text
    else:
        try:
            value = float(text)
        except ValueError:
            raise UserError(
                f"Axis {axis.name} is expressed by {axis.expressed_by!r}, and {text!r} is not a number.",
                "Compare with a number, as in d2>=3.",
            ) from None
    equal = {index for index, choice in enumerate(on.choices) if same_choice(choice, value)}
    if sign in _ORDERS:
        is_beyond = _ORDERS[sign]
        equal |= {index for index, choice in enumerate(on.choices) if is_beyond(choice, value)}
    held = set(range(len(on.choices))) - equal if sign == "!=" else equal
    if not held:
        raise UserError(
            f"Axis {axis.name} is expressed by {axis.expressed_by!r}, which never holds.",
            f"{on.name} may be: {on.allowed()}.",
        )
    return frozenset(held)
