"""A table that answers for a whole space, by trees fitted to the networks that were trained.

A surrogate benchmark (Zela et al. 2022, arXiv 2008.09777) answers every point by its model, trained points
too, so that no search can tell them apart. The trees are scikit-learn's histogram gradient boosting, one
model a column, fitted when the column is first asked for. They are models of our own: the published ones
are pickled objects, which are never loaded, so numbers differ from those of the published models.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from evonas.data.nas_bench.base import Table, Words
from evonas.errors import UserError

Features = Callable[[Words], Sequence[int]]
TREES, RATE, LEAVES = 300, 0.15, 8


@dataclass(frozen=True)
class FittedTable(Table):
    """A `Table` whose numbers are predicted; its columns hold what was measured.

    Args:
        features: integers that describe an architecture to the trees; ValueError for words it does not know.
        is_ordered: whether their order means anything.
    """

    features: Features
    is_ordered: bool

    def values(self, words: Words, names: Sequence[str]) -> dict[str, float]:
        """The predicted numbers of any architecture; ValueError for words that are none."""
        row = np.array([self.features(words)])
        return {name: float(self._model(name).predict(row)[0]) for name in names}

    @cached_property
    def _models(self) -> dict[str, HistGradientBoostingRegressor]:
        return {}

    @cached_property
    def _described(self) -> NDArray[np.int64]:
        described = np.empty((len(next(iter(self.columns.values()))), self._width), dtype=np.int64)
        for words, rows in self.rows.items():
            described[list(rows)] = self.features(words)
        return described

    @property
    def _width(self) -> int:
        return len(self.features(next(iter(self.rows))))

    def _model(self, name: str) -> HistGradientBoostingRegressor:
        if name not in self._models:
            known = np.isfinite(self.column(name))
            if known.sum() < 2:
                raise UserError(f"The table {self.name} has no two numbers in column '{name}'.")
            self._models[name] = fitted(self._described[known], self.column(name)[known], self.is_ordered)
        return self._models[name]


def fitted(rows: NDArray[np.int64], values: NDArray[Any], is_ordered: bool) -> HistGradientBoostingRegressor:
    """Trees that predict values from rows of integers; the same for the same rows."""
    categories = None if is_ordered else np.ones(rows.shape[1], dtype=bool)
    trees = HistGradientBoostingRegressor(
        max_iter=TREES,
        learning_rate=RATE,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=5,
        l2_regularization=1.0,
        categorical_features=categories,
        early_stopping=False,
        random_state=0,
    )
    return trees.fit(rows, values)


def completed(table: Table, features: Features, is_ordered: bool) -> FittedTable:
    """The table with a model for what it lacks; its digest names the version of the trees."""
    digest = f"{table.digest}, scikit-learn {sklearn.__version__}"
    return FittedTable(table.name, table.rows, table.columns, table.units, digest, features, is_ordered)
