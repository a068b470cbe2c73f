"""Genotype: one point of a space."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Genotype:
    """A point of a space as indices into its choices; frozen and hashable.

    Args:
        space: name of the space the genes belong to.
        genes: one index per gene, in the order of the space.
    """

    space: str
    genes: tuple[int, ...]
