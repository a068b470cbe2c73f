"""Gene groups: names such as `kernel` or `depth` for genes that a curriculum opens together, in any family."""

import re
from collections.abc import Mapping, Sequence

from evonas.errors import UserError
from evonas.space.genes import Gene, prefix_of

Groups = tuple[tuple[str, tuple[str, ...]], ...]
GivenGroups = Mapping[str, str | Sequence[str]] | Groups

_WORD = re.compile(r"[a-z][a-z_]*\Z")


def groups_of(genes: Sequence[Gene], given: GivenGroups) -> Groups:
    """Groups with the names of their genes, in the order of the space.

    Args:
        genes: genes of the space.
        given: maps names of groups to names or prefixes of genes.

    Raises:
        UserError: the name of a group is invalid or is also that of another gene or prefix, a gene is unknown, or a
            gene is in two groups.
    """
    made: list[tuple[str, tuple[str, ...]]] = []
    owner: dict[str, str] = {}
    for word, members in given.items() if isinstance(given, Mapping) else given:
        names = _members(genes, word, [members] if isinstance(members, str) else members)
        _check_word(genes, word, names)
        for name in names:
            if owner.setdefault(name, word) != word:
                raise UserError(f"{name} is in the groups {owner[name]} and {word}.", "Leave it in one.")
        made.append((word, names))
    if len({word for word, _ in made}) < len(made):
        raise UserError(f"A group is there twice: {', '.join(word for word, _ in made)}.", "Name each once.")
    return tuple(made)


def _members(genes: Sequence[Gene], word: str, given: Sequence[str]) -> tuple[str, ...]:
    names = {gene.name for gene in genes}
    wanted: set[str] = set()
    for key in given:
        found = {key} if key in names else {name for name in names if prefix_of(name) == key}
        if not found:
            known = ", ".join(dict.fromkeys(prefix_of(gene.name) for gene in genes))
            raise UserError(
                f"Group {word} contains the unknown gene {key!r}.", f"Use names or prefixes: {known}."
            )
        wanted |= found
    if not wanted:
        raise UserError(f"Group {word} has no genes.", f"Give it some, as in {word}=[{genes[0].name}].")
    return tuple(gene.name for gene in genes if gene.name in wanted)


def _check_word(genes: Sequence[Gene], word: str, names: tuple[str, ...]) -> None:
    if not isinstance(word, str) or not _WORD.match(word):
        raise UserError(f"{word!r} cannot name a group.", "Use lower-case letters, as in kernel.")
    # openings read a key as a gene or prefix before they look for a group
    meant = {gene.name for gene in genes if word == gene.name}
    meant = meant or {gene.name for gene in genes if word == prefix_of(gene.name)}
    if meant and meant != set(names):
        raise UserError(
            f"Group {word} is {', '.join(names)}, but {word} also means {', '.join(sorted(meant))}.",
            "Give the group another word.",
        )
