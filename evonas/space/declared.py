"""A space that a user declares in YAML, without code."""

from collections.abc import Mapping
from typing import Any

from evonas.errors import UserError
from evonas.space.space import Axis, Bits, Space


def declared_space(
    name: str,
    axes: Mapping[str, Any] | None = None,
    bits: Mapping[str, Any] | None = None,
    groups: Mapping[str, Any] | None = None,
) -> Space:
    """A space from plain data; axes come first in the integer layout, in the order written.

    Args:
        name: the first word of the text form.
        axes: name -> choices, or name -> {choices, expressed_by}.
        bits: name -> length, or name -> {length, minimum}.
        groups: word -> names or prefixes of genes, for openings.

    Raises:
        UserError: for anything that does not describe a space.

    Example:
        >>> declared_space("toy", {"k1": [3, 5], "k2": [3, 5]}, {"d1": 3}).size()
        28
    """
    made = [_axis(gene, given) for gene, given in (axes or {}).items()]
    rows = [_bits(gene, given) for gene, given in (bits or {}).items()]
    return Space(name, (*made, *rows), groups={word: _keys(given) for word, given in (groups or {}).items()})


def _keys(given: Any) -> tuple[str, ...]:
    return tuple(map(str, [given] if isinstance(given, str) else given))


def _axis(name: str, given: Any) -> Axis:
    record = _record(name, given, "choices", {"choices", "expressed_by"})
    choices = record["choices"]
    if isinstance(choices, str | int | float):
        raise UserError(f"The choices of {name} are {choices!r}.", f"Write a list: {name}: [{choices}]")
    return Axis(name, tuple(choices), record.get("expressed_by"))


def _bits(name: str, given: Any) -> Bits:
    record = _record(name, given, "length", {"length", "minimum"})
    return Bits(name, int(record["length"]), int(record.get("minimum", 1)))


def _record(name: str, given: Any, main: str, allowed: set[str]) -> Mapping[str, Any]:
    record = given if isinstance(given, Mapping) else {main: given}
    if main not in record or set(record) - allowed:
        raise UserError(
            f"{name} is declared with the keys {', '.join(map(str, record))}.",
            f"It needs {main} and may have: {', '.join(sorted(allowed))}.",
        )
    return record
