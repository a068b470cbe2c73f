"""Surrogates made of trees: an ensemble on random parts of the genome, and gradient boosting."""

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.tree import DecisionTreeRegressor

from evonas.search.surrogates.base import Predict


class CARTs:
    """The mean of many trees, each grown on a random subset of the genes; NSGANetV2's third surrogate.

    Args:
        trees: how many (NSGANetV2: 5000; a few hundred rank as well).
    """

    def __init__(self, trees: int = 300) -> None:
        self._trees = trees

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """Grow the trees on all facts; subset sizes are uniform from 1 to D."""
        rng = np.random.default_rng(seed)
        width = features.shape[1]
        # trees compare single precision, so it is converted once here and not once a tree
        given = np.asarray(features, dtype=np.float32)
        grown = []
        for _ in range(self._trees):
            part = rng.choice(width, size=int(rng.integers(1, width + 1)), replace=False)
            tree = DecisionTreeRegressor(random_state=int(rng.integers(2**31))).fit(given[:, part], values)
            grown.append((part, tree))

        def predict(asked: np.ndarray) -> np.ndarray:
            rows = np.asarray(asked, dtype=np.float32)
            leaves = [
                tree.tree_.predict(np.ascontiguousarray(rows[:, part])).reshape(-1) for part, tree in grown
            ]
            return np.asarray(np.mean(leaves, axis=0))

        return predict


class Boosting:
    """Gradient-boosted trees; for objectives with steps, and facts that scatter.

    Args:
        trees: rounds of boosting.
        depth: of each tree.
        rate: of learning.
    """

    def __init__(self, trees: int = 300, depth: int = 4, rate: float = 0.05) -> None:
        self._trees, self._depth, self._rate = trees, depth, rate

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """Boost on random 70 % of the facts per round."""
        boosted = GradientBoostingRegressor(
            n_estimators=self._trees,
            max_depth=self._depth,
            learning_rate=self._rate,
            subsample=0.7,
            random_state=seed % 2**32,
        ).fit(features, values)
        return lambda asked: np.asarray(boosted.predict(asked))
