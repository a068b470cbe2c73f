"""Adaptive switching: of several surrogates, the one that ranks unseen facts best and most steadily."""

from collections.abc import Mapping

import numpy as np

from evonas.errors import UserError
from evonas.search.surrogates.base import Predict, Surrogate, rank_agreement


class AdaptiveSwitching:
    """Cross-validates its candidates at every fit and fits the winner on all facts; NSGANetV2's `as`.

    Args:
        candidates: name -> surrogate.
        folds: of the cross-validation.

    Raises:
        UserError: for no candidates or fewer than two folds.
    """

    def __init__(self, candidates: Mapping[str, Surrogate], folds: int = 10) -> None:
        if not candidates or folds < 2:
            raise UserError(
                f"Cannot switch between {len(candidates)} surrogates in {folds} folds.",
                "Give search.surrogate.candidates, and folds of at least 2.",
            )
        self._candidates, self._folds = dict(candidates), folds

    def fit(self, features: np.ndarray, values: np.ndarray, seed: int) -> Predict:
        """Fit the candidate with the largest mean tau - std tau over the folds; ties go to the first."""
        scores = self.scores(features, values, seed)
        winner = max(scores, key=lambda name: scores[name])
        return self._candidates[winner].fit(features, values, seed)

    def scores(self, features: np.ndarray, values: np.ndarray, seed: int) -> dict[str, float]:
        """Mean tau - std tau of each candidate; folds are drawn from the seed."""
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
        taus.append(rank_agreement(predict(features[held]), values[held]))
    return float(np.mean(taus) - np.std(taus))
