"""Loss predictor of attentive sampling, fitted while the supernet trains."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.space.genotype import Genotype
from evonas.space.space import Space

# exponential forgetting factor per step, and ridge penalty
MEMORY, RIDGE = 0.99, 1.0


class LossPredictor:
    """Ridge regression of log losses on one-hot genes, with exponential forgetting.

    Losses of one step share its batch, so features and losses are centred per step. The state consists of the
    normal equations, so its size is constant.
    """

    def __init__(self, space: Space) -> None:
        self._starts = np.concatenate([[0], np.cumsum(space.cardinalities)])
        width = int(self._starts[-1])
        self._products = np.zeros((width, width))
        self._answers = np.zeros(width)

    def learn(self, genotypes: Sequence[Genotype], losses: Sequence[float]) -> None:
        """Adds the losses of one step; a single loss carries no information after centring."""
        rows, values = self._features(genotypes), np.log(np.maximum(losses, 1e-12))
        rows, values = rows - rows.mean(axis=0), values - values.mean()
        self._products = MEMORY * self._products + rows.T @ rows
        self._answers = MEMORY * self._answers + rows.T @ values

    def predict(self, genotypes: Sequence[Genotype]) -> list[float]:
        """Scores that rank genotypes by expected loss; lower is better."""
        ridge = RIDGE * np.eye(len(self._answers))
        slopes = np.linalg.solve(self._products + ridge, self._answers)
        found: list[float] = (self._features(genotypes) @ slopes).tolist()
        return found

    def plain(self) -> dict[str, Any]:
        """The state as JSON data."""
        return {"products": self._products.tolist(), "answers": self._answers.tolist()}

    def fill(self, plain: dict[str, Any]) -> None:
        """Restores what `plain` returned."""
        self._products, self._answers = np.array(plain["products"]), np.array(plain["answers"])

    def _features(self, genotypes: Sequence[Genotype]) -> NDArray[np.float64]:
        rows = np.zeros((len(genotypes), len(self._answers)))
        for row, genotype in zip(rows, genotypes, strict=True):
            row[self._starts[:-1] + np.array(genotype.genes)] = 1.0
        return rows
