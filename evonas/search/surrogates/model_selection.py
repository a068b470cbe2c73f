"""Adaptive switching: selects the best of several surrogates by cross-validation."""

from collections.abc import Mapping

import numpy as np

from evonas.errors import UserError
from evonas.search.surrogates.base import Predict, Surrogate, kendall_tau


class AdaptiveSwitching:
    """Cross-validates its candidates at every fit and uses the best ("adaptive switching" in NSGANetV2).

    Args:
        candidates: name -> surrogate.
        folds: number of cross-validation folds.

    Raises:
        UserError: there are no candidates or fewer than 2 folds.
    """

    def __init__(self, candidates: Mapping[str, Surrogate], folds: int = 10) -> None:
        if not candidates or folds < 2:
            raise UserError(
                "search.surrogate needs at least 1 candidate and 2 folds, "
                f"got {len(candidates)} candidates and {folds} folds.",
                "Set search.surrogate.candidates, and search.surrogate.folds to at least 2.",
            )
        self._candidates, self._folds = dict(candidates), folds

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """See `Surrogate`; fits the first candidate with the largest score."""
        scores = self.scores(features, values, seed)
        winner = max(scores, key=lambda name: scores[name])
        return self._candidates[winner].fit(features, values, seed)

    def scores(self, features: np.ndarray, values: np.ndarray, seed: int) -> dict[str, float]:
        """Mean minus standard deviation of Kendall's tau over the folds, per candidate."""
        folds = min(self._folds, len(values) // 2)
        if folds < 2:
            return dict.fromkeys(self._candidates, 0.0)
        order = np.random.default_rng(seed).permutation(len(values))
        parts = np.array_split(order, folds)
        return {
            name: _score(candidate, features, values, parts, seed)
            for name, candidate in self._candidates.items()
        }


def _score(
    candidate: Surrogate, features: np.ndarray, values: np.ndarray, parts: list[np.ndarray], seed: int
) -> float:
    taus = []
    for held in parts:
        known = np.setdiff1d(np.arange(len(values)), held)
        predict = candidate.fit(features[known], values[known], seed)
        taus.append(kendall_tau(predict(features[held]), values[held]))
    return float(np.mean(taus) - np.std(taus))
