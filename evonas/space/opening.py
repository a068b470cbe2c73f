"""An opening: the part of a space that a curriculum has opened so far."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evonas.errors import UserError
from evonas.space.genes import Axis, Bits, Gene, prefix_of

Opening = Mapping[str, Any]


def choices_of(genes: Iterable[Gene], opened: Opening | None) -> dict[str, list[int]]:
    """The open indices of every axis, ascending.

    Args:
        genes: of the space.
        opened: keys are prefixes (`s`) or names (`s2`, which win); values are lists of
            choices or "free" for axes, "all" or "free" for bits. What is not named is free.

    Raises:
        UserError: for an unknown key or a choice outside the axis.
    """
    listed = list(genes)
    check_opening(listed, opened)
    return {gene.name: _indices(gene, opened) for gene in listed if isinstance(gene, Axis)}


def is_all_on(bits: Bits, opened: Opening | None) -> bool:
    """Whether the opening keeps every bit of the row on."""
    return _setting(bits, opened) == "all"


def check_opening(genes: Sequence[Gene], opened: Opening | None) -> None:
    """Raise a UserError unless every key names a gene and every bits setting is "all" or "free"."""
    known = {name for gene in genes for name in (gene.name, prefix_of(gene.name))}
    for key in opened or {}:
        if key not in known:
            raise UserError(
                f"The opening names {key!r}, which is no gene.", f"Use: {', '.join(sorted(known))}."
            )
    for gene in genes:
        setting = _setting(gene, opened)
        if isinstance(gene, Bits) and setting not in ("all", "free"):
            raise UserError(
                f"The opening sets {gene.name} to {setting!r}.", 'Bits are opened "all" or "free".'
            )


def _setting(gene: Gene, opened: Opening | None) -> Any:
    named = opened or {}
    return named.get(gene.name, named.get(prefix_of(gene.name), "free"))


def _indices(axis: Axis, opened: Opening | None) -> list[int]:
    setting = _setting(axis, opened)
    if setting == "free":
        return list(range(len(axis.choices)))
    if isinstance(setting, str) or not isinstance(setting, Sequence) or not setting:
        raise UserError(f"The opening sets {axis.name} to {setting!r}.", 'Use a list of choices or "free".')
    return sorted({axis.index(value) for value in setting})
