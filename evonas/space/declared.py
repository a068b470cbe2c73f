"""Spaces declared in YAML."""

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
    """A space from plain data; in the integer layout axes come first, in the order written.

    Args:
        name: name of the space.
        axes: maps names to choices, or to {choices, expressed_by}.
        bits: maps names to lengths, or to {length, minimum}.
        groups: maps names of groups to names or prefixes of genes.

    Raises:
        UserError: the data does not describe a space.

    Example:
        >>> declared_space("toy", {"k1": [3, 5], "k2": [3, 5]}, {"d1": 3}).size()
        28
    """
    made = [_axis(gene, given) for gene, given in (axes or {}).items()]
    rows = [_bits(gene, given) for gene, given in (bits or {}).items()]
    members = {
        word: tuple(map(str, [given] if isinstance(given, str) else given))
        for word, given in (groups or {}).items()
    }
    return Space(name, (*made, *rows), groups=members)


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
