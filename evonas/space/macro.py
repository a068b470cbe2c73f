"""Macro spaces: chains of blocks in stages with optional blocks, as NAS-Bench-Macro (Su et al. 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evonas.errors import UserError
from evonas.space.genes import Axis
from evonas.space.space import Space


@dataclass(frozen=True)
class MacroSpace(Space):
    """A space with one axis per layer, whose first choice is the identity.

    The position of identities within a stage does not matter, except for its first layer, which changes the resolution.
    Canonical layouts have the identities at the end of each stage.

    Args:
        stages: number of layers of each stage.
    """

    stages: tuple[int, ...] = ()

    def size(self) -> int:
        """The number of distinct networks: 3969 of NAS-Bench-Macro's 6561 chains."""
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
    """A macro space.

    Args:
        name: name of the space.
        stages: number of layers of each stage.
        blocks: choices of every layer, identity first.

    Raises:
        UserError: a stage has no layer.
    """
    if not stages or min(stages) < 1:
        raise UserError(
            f"Every stage of {name} needs a layer, got stages {list(stages)}.", "Try stages: [2, 3, 3]"
        )
    layers = range(1, sum(stages) + 1)
    return MacroSpace(name, tuple(Axis(f"m{layer}", tuple(blocks)) for layer in layers), tuple(stages))
