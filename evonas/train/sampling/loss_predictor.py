"""Which of two subnets has the lower loss, learnt while the supernet trains."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.space.genotype import Genotype
from evonas.space.space import Space

# weight of a step's facts relative to the step after it, and the ridge that keeps an empty memory solvable
MEMORY, RIDGE = 0.99, 1.0


class LossPredictor:
    """Ridge regression of log losses on the choices of every gene, with fading memory.

    Losses of one step share its images, so only their differences within the step are learnt.
    What it knows is two sums over the facts, so that a checkpoint of it does not grow.
    """

    def __init__(self, space: Space) -> None:
        self._starts = np.concatenate([[0], np.cumsum(space.cardinalities)])
        width = int(self._starts[-1])
        self._products = np.zeros((width, width))
        self._answers = np.zeros(width)

    def learn(self, genotypes: Sequence[Genotype], losses: Sequence[float]) -> None:
        """Take one step's facts; a single one says nothing."""
        rows, values = self._features(genotypes), np.log(np.maximum(losses, 1e-12))
        rows, values = rows - rows.mean(axis=0), values - values.mean()
        self._products = MEMORY * self._products + rows.T @ rows
        self._answers = MEMORY * self._answers + rows.T @ values

    def predict(self, genotypes: Sequence[Genotype]) -> list[float]:
        """A number for each that orders them as their losses are expected to."""
        ridge = RIDGE * np.eye(len(self._answers))
        slopes = np.linalg.solve(self._products + ridge, self._answers)
        found: list[float] = (self._features(genotypes) @ slopes).tolist()
        return found

    def plain(self) -> dict[str, Any]:
        """Both sums as lists."""
        return {"products": self._products.tolist(), "answers": self._answers.tolist()}

    def fill(self, plain: dict[str, Any]) -> None:
        """Take what `plain` gave."""
        self._products, self._answers = np.array(plain["products"]), np.array(plain["answers"])

    def _features(self, genotypes: Sequence[Genotype]) -> NDArray[np.float64]:
        rows = np.zeros((len(genotypes), len(self._answers)))
        for row, genotype in zip(rows, genotypes, strict=True):
            row[self._starts[:-1] + np.array(genotype.genes)] = 1.0
        return rows
