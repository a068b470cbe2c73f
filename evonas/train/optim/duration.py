"""Duration of a training in epochs, in optimizer steps, or in both."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Duration:
    """Duration and warm-up of a training; the shorter of both durations applies.

    Args:
        epochs: passes over the training split; None for no limit.
        iterations: optimizer steps; None for no limit.
        warmup_epochs: linear warm-up at the start.
        warmup_iterations: linear warm-up in optimizer steps; takes precedence unless 0.
    """

    epochs: int | None
    iterations: int | None
    warmup_epochs: float = 0.0
    warmup_iterations: int = 0

    def optimizer_steps(self, batches_per_epoch: int) -> int:
        """Optimizer steps of the training; one of the two durations must be given."""
        assert self.epochs is not None or self.iterations is not None
        by_epochs = math.inf if self.epochs is None else self.epochs * batches_per_epoch
        by_iterations = math.inf if self.iterations is None else self.iterations
        return int(min(by_epochs, by_iterations))

    def warmup_steps(self, batches_per_epoch: int) -> int:
        """Optimizer steps of the warm-up, at most those of the training."""
        wanted = self.warmup_iterations or round(self.warmup_epochs * batches_per_epoch)
        return min(wanted, self.optimizer_steps(batches_per_epoch))
