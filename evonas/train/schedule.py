"""Learning rate as a function of the step, so that a resumed run needs no scheduler state."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Linear warm-up, then cosine, per optimizer step (EvoNAS recipe, docs/design.md).

    The cosine's period is the whole length and its clock starts after the warm-up, as in
    the published recipe; it therefore ends slightly above `minimum`.

    Args:
        total_steps: optimizer steps of this training, warm-up included.
        warmup_steps: steps from `start` to `peak`.
        peak: highest learning rate.
        start: learning rate of step 0 when there is a warm-up.
        minimum: floor of the cosine.
    """

    total_steps: int
    warmup_steps: int
    peak: float
    start: float
    minimum: float

    def at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.start + (self.peak - self.start) * step / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.total_steps)
        return self.minimum + 0.5 * (self.peak - self.minimum) * (1.0 + math.cos(math.pi * progress))
