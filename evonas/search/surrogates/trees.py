"""Tree surrogates: an ensemble of CARTs on random feature subsets, and gradient boosting."""

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.tree import DecisionTreeRegressor

from evonas.search.surrogates.base import Predict


class CARTs:
    """Mean of regression trees on random feature subsets, as in NSGANetV2.

    Args:
        trees: number of trees (NSGANetV2: 5000; a few hundred rank as well).
    """

    def __init__(self, trees: int = 300) -> None:
        self._trees = trees

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """See `Surrogate`; subset sizes are uniform in 1..D."""
        rng = np.random.default_rng(seed)
        width = features.shape[1]
        # trees use single precision; converting once avoids a conversion per tree
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
    """Gradient-boosted trees, for discontinuous or noisy objectives.

    Args:
        trees: boosting rounds.
        depth: maximum depth of each tree.
        rate: learning rate.
    """

    def __init__(self, trees: int = 300, depth: int = 4, rate: float = 0.05) -> None:
        self._trees, self._depth, self._rate = trees, depth, rate

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """See `Surrogate`; each round uses a random 70 % of the observations."""
        boosted = GradientBoostingRegressor(
            n_estimators=self._trees,
            max_depth=self._depth,
            learning_rate=self._rate,
            subsample=0.7,
            random_state=seed % 2**32,
        ).fit(features, values)
        return lambda asked: np.asarray(boosted.predict(asked))
