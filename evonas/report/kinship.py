"""Where a network may come from: archives keep facts and no parents, so kinship is read off the genes.

A network's *nearest* is the network asked before its own generation that differs in the fewest positions of
the layout (of equals: by the fewest steps, then the one asked last). Its *mate* is the earlier network that
has most of what the nearest lacks, and at least two of these positions, as the second parent of a crossing
would. Both are guesses, and are called so wherever they are shown.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from evonas.report.facts import Facts
from evonas.report.genome import Genome
from evonas.report.moments import born

LONGEST = 200


@dataclass(frozen=True, slots=True)
class Kin:
    """The earlier relatives of one network.

    Args:
        row: the network, among the facts.
        nearest: row of the most similar earlier network; None for the first generation.
        mate: row of the one that has most of what `nearest` lacks, or None.
        changed: positions of the layout that differ from `nearest`.
        shared: how many of these `mate` has.
    """

    row: int
    nearest: int | None = None
    mate: int | None = None
    changed: int = 0
    shared: int = 0


def kin(facts: Facts, genome: Genome, row: int) -> Kin:
    """The likeliest relatives of one network among those asked before its generation."""
    begun = born(facts)
    earlier = np.flatnonzero(begun < begun[row])
    if not len(earlier):
        return Kin(row)
    own, others = genome.rows[row], genome.rows[earlier]
    differs = others != own
    distance = differs.sum(axis=1)
    steps = np.abs(others - own).sum(axis=1)
    at = int(np.lexsort((-earlier, steps, distance))[0])
    lacking = differs[at]
    shared = (~differs[:, lacking]).sum(axis=1)
    mate = int(np.lexsort((-earlier, distance, -shared))[0])
    has_mate = bool(shared[mate] >= 2)
    return Kin(
        row,
        int(earlier[at]),
        int(earlier[mate]) if has_mate else None,
        int(lacking.sum()),
        int(shared[mate]) if has_mate else 0,
    )


def descent(facts: Facts, genome: Genome, row: int) -> Iterator[Kin]:
    """The network, its nearest, the nearest's nearest and so on, back to the first generation."""
    at: int | None = row
    for _ in range(LONGEST):
        if at is None:
            return
        found = kin(facts, genome, at)
        yield found
        at = found.nearest
