"""A surrogate benchmark: predictions for a whole space by trees fitted to the trained networks.

A surrogate benchmark (Zela et al. 2022, arXiv 2008.09777) predicts all points by its model, including trained points,
so that a search cannot distinguish them. The trees are scikit-learn's histogram gradient boosting, one model per
column, fitted on first use. The published models are pickled objects, which evonas never loads, so values differ from
theirs.
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
    """A `Table` of predicted values; its columns are the measured values.

    Args:
        features: maps words to integer features; raises ValueError for unknown words.
        is_ordered: whether features are ordinal; otherwise they are categories.
    """

    features: Features
    is_ordered: bool

    def values(self, words: Words, names: Sequence[str]) -> dict[str, float]:
        """Predicted values of an architecture by column; a ValueError for unknown words."""
        row = np.array([self.features(words)])
        return {name: float(self._model(name).predict(row)[0]) for name in names}

    @cached_property
    def _models(self) -> dict[str, HistGradientBoostingRegressor]:
        return {}

    @cached_property
    def _described(self) -> NDArray[np.int64]:
        width = len(self.features(next(iter(self.rows))))
        described = np.empty((len(next(iter(self.columns.values()))), width), dtype=np.int64)
        for words, rows in self.rows.items():
            described[list(rows)] = self.features(words)
        return described

    def _model(self, name: str) -> HistGradientBoostingRegressor:
        if name not in self._models:
            known = np.isfinite(self.column(name))
            if known.sum() < 2:
                raise UserError(f"Column '{name}' of the table {self.name} needs at least two values.")
            self._models[name] = fitted(self._described[known], self.column(name)[known], self.is_ordered)
        return self._models[name]


def fitted(rows: NDArray[np.int64], values: NDArray[Any], is_ordered: bool) -> HistGradientBoostingRegressor:
    """Trees that predict values from rows of integer features; deterministic."""
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
    """The table with predictions for all architectures; its digest includes scikit-learn's version."""
    digest = f"{table.digest}, scikit-learn {sklearn.__version__}"
    return FittedTable(table.name, table.rows, table.columns, table.units, digest, features, is_ordered)
