"""Monitors the out-of-sample accuracy of a surrogate during a search."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evonas.errors import UserError
from evonas.search.surrogates.base import kendall_tau


@dataclass(frozen=True, slots=True)
class BatchAccuracy:
    """Accuracy of the surrogate on one batch that it predicted before the evaluation.

    Args:
        observations: number of observations that the surrogate was fitted to.
        taus: Kendall's tau of each objective over the last predictions (`SurrogateMonitor.memory`).
        errors: root mean square error of each objective over this batch, in the objective's unit.
        is_alarmed: whether the surrogate is too inaccurate to be used.
    """

    observations: int
    taus: tuple[float, ...]
    errors: tuple[float, ...]
    is_alarmed: bool


class SurrogateMonitor:
    """Compares predictions with observations that the surrogate was not fitted to.

    Args:
        min_rank_correlation: Kendall's tau below which the surrogate is not used.
        rank_correlation_window: number of last predictions that tau is computed over; at least half of them are needed.

    Raises:
        UserError: `rank_correlation_window` is below 4 or `min_rank_correlation` is outside [-1, 1].
    """

    def __init__(self, min_rank_correlation: float, rank_correlation_window: int) -> None:
        if rank_correlation_window < 4 or not -1 <= min_rank_correlation <= 1:
            raise UserError(
                f"search.min_rank_correlation must be in [-1, 1] and search.rank_correlation_window at least 4, "
                f"got {min_rank_correlation} and {rank_correlation_window}.",
                "Try: search.min_rank_correlation=0.2 search.rank_correlation_window=32",
            )
        self._minimum = min_rank_correlation
        self._least = rank_correlation_window // 2
        self._pairs: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=rank_correlation_window)
        self.history: list[BatchAccuracy] = []

    @property
    def is_alarmed(self) -> bool:
        """Whether the last update found an objective with a tau below the minimum."""
        return bool(self.history) and self.history[-1].is_alarmed

    def update(self, predicted: np.ndarray, found: np.ndarray, observations: int) -> None:
        """Add (K, M) predictions and (K, M) observed values of a batch.

        Args:
            predicted: made before the batch was evaluated.
            found: observed objective values.
            observations: number of observations that the surrogate was fitted to.
        """
        if not len(found):
            return
        self._pairs.extend(zip(predicted, found, strict=True))
        predictions, values = (np.array(side) for side in zip(*self._pairs, strict=True))
        taus = [kendall_tau(predictions[:, at], values[:, at]) for at in range(values.shape[1])]
        errors = np.sqrt(np.mean((predicted - found) ** 2, axis=0))
        # tau is meaningless for an objective that hardly varies within the batch
        judged = [tau for at, tau in enumerate(taus) if len(np.unique(values[:, at])) > len(values) // 4]
        is_alarmed = len(values) >= self._least and min(judged, default=1.0) < self._minimum
        self.history.append(BatchAccuracy(observations, tuple(taus), tuple(errors.tolist()), is_alarmed))

    def lines(self) -> Sequence[str]:
        """One line of text per batch."""
        return [
            f"{each.observations} observations: tau {', '.join(f'{tau:.2f}' for tau in each.taus)}"
            + (" (surrogate not used)" if each.is_alarmed else "")
            for each in self.history
        ]
