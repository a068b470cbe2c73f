"""Chains of blocks in stages, where a block may be left out: NAS-Bench-Macro (Su et al. 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evonas.errors import UserError
from evonas.space.genes import Axis
from evonas.space.space import Space


@dataclass(frozen=True)
class MacroSpace(Space):
    """One axis a layer, whose first choice is the identity; where in a stage that stands does not matter.

    The first layer of a stage changes size, so it stays in its place. A point has the identities of each
    stage at the stage's end.

    Args:
        stages: how many layers each stage has.
    """

    stages: tuple[int, ...] = ()

    def size(self) -> int:
        """The number of networks that differ: 3969 of NAS-Bench-Macro's 6561 chains."""
        choices, count = self.cardinalities[0], 1
        for length in self.stages:
            count *= choices * sum((choices - 1) ** kept for kept in range(length))
        return count

    def canonical_rows(self, rows: np.ndarray) -> np.ndarray:
        """(N, V) chains with the identities of each stage at its end."""
        found, start = np.array(rows), 0
        for length in self.stages:
            stage = found[:, start + 1 : start + length]
            order = np.argsort(stage == 0, axis=1, kind="stable")
            found[:, start + 1 : start + length] = np.take_along_axis(stage, order, axis=1)
            start += length
        return found


def macro_space(name: str, stages: Sequence[int], blocks: Sequence[str]) -> MacroSpace:
    """The chains of some stages over some blocks, identity first.

    Raises:
        UserError: a stage has no layer.
    """
    if not stages or min(stages) < 1:
        raise UserError(
            f"The stages {list(stages)} of {name} do not all have a layer.", "As in stages: [2, 3, 3]"
        )
    layers = range(1, sum(stages) + 1)
    return MacroSpace(name, tuple(Axis(f"m{layer}", tuple(blocks)) for layer in layers), tuple(stages))
