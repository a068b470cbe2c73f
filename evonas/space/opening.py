"""Openings: restrictions of a space for a step of a curriculum."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evonas.errors import UserError
from evonas.space.genes import Axis, Bits, Gene, prefix_of
from evonas.space.groups import Groups

Opening = Mapping[str, Any]

_BITS = {"all": "max", "max": "max", "min": "min", "free": "free"}


@dataclass(frozen=True, slots=True)
class Narrowed:
    """The open values of each gene.

    Args:
        choices: open indices of every axis, ascending.
        bits: setting of every row of bits that is fixed; other rows are free.
    """

    choices: Mapping[str, list[int]]
    bits: Mapping[str, list[int]]

    def settings(self, gene: Gene) -> list[tuple[int, ...]]:
        """All open layouts of a gene, ascending."""
        if isinstance(gene, Axis):
            return [(index,) for index in self.choices[gene.name]]
        return [tuple(self.bits[gene.name])] if gene.name in self.bits else gene.settings()

    def values(self, gene: Gene) -> list[list[int]]:
        """The open values of each position of a gene."""
        if isinstance(gene, Axis):
            return [self.choices[gene.name]]
        return [[bit] for bit in self.bits.get(gene.name, ())] or [[0, 1]] * gene.length


def narrowed(genes: Sequence[Gene], groups: Groups, opened: Opening | None) -> Narrowed:
    """The open values of all genes.

    Args:
        genes: genes of the space.
        groups: groups of the space.
        opened: keys are names of genes (`s2`), prefixes (`s`) or groups (`state`); names take precedence over
            prefixes, prefixes over groups. Values are lists of choices or "free" for axes, "all" or "free" for bits,
            "max" or "min" for both. Genes without an entry are free.

    Raises:
        UserError: a key is unknown, or a choice is not in the axis.
    """
    named = dict(opened or {})
    _check_keys(genes, groups, named)
    owner = {name: word for word, names in groups for name in names}
    settings = {}
    for gene in genes:
        keys = (gene.name, prefix_of(gene.name), owner.get(gene.name))
        settings[gene.name] = next((named[key] for key in keys if key in named), "free")
    rows = {gene.name: _row(gene, settings[gene.name]) for gene in genes if isinstance(gene, Bits)}
    return Narrowed(
        {gene.name: _indices(gene, settings[gene.name]) for gene in genes if isinstance(gene, Axis)},
        {name: row for name, row in rows.items() if row is not None},
    )


def _check_keys(genes: Sequence[Gene], groups: Groups, named: Opening) -> None:
    known = {name for gene in genes for name in (gene.name, prefix_of(gene.name))}
    known |= {word for word, _ in groups}
    for key in named:
        if key not in known:
            raise UserError(
                f"The opening contains {key!r}, which is neither a gene nor a group.",
                f"Use: {', '.join(sorted(known))}.",
            )


def _row(bits: Bits, setting: Any) -> list[int] | None:
    """The setting of a fixed row of bits; None if it is free."""
    end = _BITS.get(setting) if isinstance(setting, str) else None
    if end is None:
        raise UserError(
            f"The opening sets {bits.name} to {setting!r}.", 'Bits are opened "max", "min" or "free".'
        )
    ones = {"max": bits.length, "min": bits.minimum}.get(end)
    return None if ones is None else [1] * ones + [0] * (bits.length - ones)


def _indices(axis: Axis, setting: Any) -> list[int]:
    """The open indices of an axis."""
    everywhere = list(range(len(axis.choices)))
    ends = {"free": everywhere, "max": everywhere[-1:], "min": everywhere[:1]}
    if isinstance(setting, str) and setting in ends:
        return ends[setting]
    if isinstance(setting, str) or not isinstance(setting, Sequence) or not setting:
        raise UserError(
            f"The opening sets {axis.name} to {setting!r}.",
            f'Use a list of choices, such as [{axis.allowed()}], or "max", "min" or "free".',
        )
    return sorted({axis.index(value) for value in setting})
