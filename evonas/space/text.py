"""Text form of genotypes: parsing and formatting.

In `small:m=3.5,4,1,3.5/s=64,64,48/e=0.5,4,0.5/d=11.0001.10011101.0111` the name of the space is followed by one group
per prefix; axes are separated by commas, rows of bits by dots.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from evonas.errors import UserError
from evonas.space.genes import Axis, Gene, prefix_of

_SPACE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")
_LONGEST = 10_000


def check_name(name: str) -> None:
    """Raises a UserError if the name of a space is invalid."""
    if not _SPACE_NAME.match(name):
        raise UserError(f"{name!r} cannot name a space.", "Use letters, digits, '_' and '-', a letter first.")


def write(name: str, genes: Sequence[Gene], values: Mapping[str, Any]) -> str:
    """The text form of decoded values."""
    return f"{name}:" + "/".join(
        f"{prefix}={_separator(group).join(gene.show(values[gene.name]) for gene in group)}"
        for prefix, group in _groups(genes).items()
    )


def parse(name: str, genes: Sequence[Gene], line: str) -> dict[str, Any]:
    """The validated values of a text form, by name of the gene.

    Raises:
        UserError: the text is malformed; the message names group or gene, value and allowed values.
    """
    groups = _groups(genes)
    example = f"A point of {name} looks like {name}:" + "/".join(f"{prefix}=..." for prefix in groups)
    space, colon, rest = line[:_LONGEST].strip().partition(":")
    if not colon or space != name:
        raise UserError(f"{line[:80]!r} is not a point of space {name}.", example)
    given: dict[str, str] = {}
    for part in rest.split("/"):
        prefix, equals, words = part.partition("=")
        if not equals or prefix in given:
            raise UserError(f"{part[:80]!r} is not a group of a point, or is there twice.", example)
        given[prefix] = words
    if list(given) != list(groups):
        raise UserError(f"The groups are {', '.join(given)}, not {', '.join(groups)}.", example)
    values: dict[str, Any] = {}
    for prefix, group in groups.items():
        values.update(_read_group(prefix, group, given[prefix]))
    return values


def _groups(genes: Sequence[Gene]) -> dict[str, list[Gene]]:
    """Genes by prefix, in order of first appearance."""
    groups: dict[str, list[Gene]] = {}
    for gene in genes:
        groups.setdefault(prefix_of(gene.name), []).append(gene)
    return groups


def _read_group(prefix: str, group: list[Gene], words: str) -> dict[str, Any]:
    separator = _separator(group)
    found = words.split(separator)
    if len(found) != len(group):
        names = ", ".join(gene.name for gene in group)
        raise UserError(
            f"{prefix}={words[:80]} has {len(found)} values.",
            f"It needs {len(group)} ({names}), separated by '{separator}'.",
        )
    return {gene.name: gene.read(word) for gene, word in zip(group, found, strict=True)}


def _separator(group: list[Gene]) -> str:
    return "," if isinstance(group[0], Axis) else "."
