"""How far a surrogate may be believed: predictions made before the facts, held against the facts."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evonas.errors import UserError
from evonas.search.surrogates.base import rank_agreement


@dataclass(frozen=True, slots=True)
class Agreement:
    """One batch that was predicted before it was told.

    Args:
        facts: how many facts the models had learnt from.
        taus: Kendall's tau of each objective over the predictions still remembered.
        errors: root mean square error of each objective over this batch alone, in its unit.
        is_alarmed: whether the searcher goes on without its models.
    """

    facts: int
    taus: tuple[float, ...]
    errors: tuple[float, ...]
    is_alarmed: bool


class Trust:
    """Remembers out-of-sample predictions only; what a model says of facts it learnt from never counts.

    Args:
        alarm: tau below which a model is not believed.
        memory: predictions remembered; a judgement needs half of them.

    Raises:
        UserError: for a memory below four or an alarm outside [-1, 1].
    """

    def __init__(self, alarm: float, memory: int) -> None:
        if memory < 4 or not -1 <= alarm <= 1:
            raise UserError(
                f"alarm is {alarm} and memory {memory}.",
                "Set search.alarm between -1 and 1, and search.memory to at least 4.",
            )
        self._alarm = alarm
        self._least = memory // 2
        self._pairs: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=memory)
        self.history: list[Agreement] = []

    @property
    def is_alarmed(self) -> bool:
        """Whether any objective is ranked too badly to be followed."""
        return bool(self.history) and self.history[-1].is_alarmed

    def witness(self, predicted: np.ndarray, found: np.ndarray, facts: int) -> None:
        """Hold (K, M) predictions against (K, M) facts that the models had not seen."""
        if not len(found):
            return
        self._pairs.extend(zip(predicted, found, strict=True))
        said, was = (np.array(side) for side in zip(*self._pairs, strict=True))
        taus = [rank_agreement(said[:, at], was[:, at]) for at in range(was.shape[1])]
        errors = np.sqrt(np.mean((predicted - found) ** 2, axis=0))
        # an objective that hardly varies among the chosen has nothing to rank
        judged = [tau for at, tau in enumerate(taus) if len(np.unique(was[:, at])) > len(was) // 4]
        is_alarmed = len(was) >= self._least and min(judged, default=1.0) < self._alarm
        self.history.append(Agreement(facts, tuple(taus), tuple(errors.tolist()), is_alarmed))

    def lines(self) -> Sequence[str]:
        """The history, a line a batch."""
        return [
            f"{each.facts} facts: tau {', '.join(f'{tau:.2f}' for tau in each.taus)}"
            + (" (not believed)" if each.is_alarmed else "")
            for each in self.history
        ]
