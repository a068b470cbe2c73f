"""Duration of a training, and its learning rate as a function of the step, without scheduler state."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal, get_args

from evonas.errors import UserError

Shape = Literal["cosine", "cosine_after_warmup", "poly", "multistep", "step", "exponential"]


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


@dataclass(frozen=True, slots=True)
class Schedule:
    """Linear warm-up followed by a decay.

    - `cosine`: the period is the whole duration and starts after the warm-up, as in EvoNAS's recipe for depth, so
      the schedule ends slightly above `minimum`.
    - `cosine_after_warmup`: the period is what follows the warm-up, so the schedule ends at `minimum` (Once-for-All).
    - `poly`: minimum + (peak - minimum) (1 - progress)^power; progress rises from 0 after the warm-up to
      1 at the end (EvoNAS for ADE20K, power 1).
    - `multistep`: peak times `gamma` per reached milestone, at least `minimum` (EvoNAS for COCO).
    - `step`: peak times `gamma` every `decay_steps`, counted from step 0, at least `minimum` (FasterSeg with gamma
      .992 an epoch; MobileNetV3 in timm with .97 every 2.4 epochs).
    - `exponential`: the same, evenly: peak times gamma^(step / decay_steps).

    Args:
        total_steps: optimizer steps of the training, including the warm-up.
        warmup_steps: optimizer steps from `start` to `peak`.
        peak: highest learning rate.
        start: learning rate of step 0 if there is a warm-up.
        minimum: lower bound after the warm-up.
        shape: `cosine`, `cosine_after_warmup`, `poly`, `multistep`, `step` or `exponential`.
        power: exponent of `poly`.
        milestones: steps of `multistep`, counted from 0, at which the rate decays.
        gamma: decay factor of `multistep`, `step` and `exponential`.
        decay_steps: optimizer steps per decay of `step` and `exponential`.

    Raises:
        UserError: shape is unknown, milestones are missing or not ascending, or a factor or length is out of range.
    """

    total_steps: int
    warmup_steps: int
    peak: float
    start: float
    minimum: float
    shape: str = "cosine"
    power: float = 1.0
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    decay_steps: float = 1.0

    def __post_init__(self) -> None:
        if self.shape not in get_args(Shape):
            raise UserError(
                f"train.*.schedule={self.shape} is unknown.", f"Known: {', '.join(get_args(Shape))}"
            )
        if self.shape == "multistep" and (
            not self.milestones or list(self.milestones) != sorted(self.milestones)
        ):
            raise UserError(
                f"schedule=multistep needs ascending milestones, got {list(self.milestones)}.",
                "Give them in epochs, such as milestones=[8,11].",
            )
        if self.shape in ("step", "exponential") and not (0 < self.gamma <= 1 and self.decay_steps > 0):
            raise UserError(
                f"schedule={self.shape} needs gamma in (0, 1] and decay_epochs above 0, got gamma={self.gamma}.",
                "FasterSeg's: gamma=0.992 decay_epochs=1.",
            )

    def at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.start + (self.peak - self.start) * step / self.warmup_steps
        if self.shape == "multistep":
            return max(self.minimum, self.peak * self.gamma ** bisect_right(self.milestones, step))
        if self.shape == "step":
            return max(self.minimum, self.peak * self.gamma ** math.floor(step / self.decay_steps))
        if self.shape == "exponential":
            return max(self.minimum, self.peak * self.gamma ** (step / self.decay_steps))
        span = self.peak - self.minimum
        if self.shape == "poly":
            progress = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
            return self.minimum + span * max(0.0, 1.0 - progress) ** self.power
        period = self.total_steps - (self.warmup_steps if self.shape == "cosine_after_warmup" else 0)
        progress = (step - self.warmup_steps) / max(1, period)
        return self.minimum + 0.5 * span * (1.0 + math.cos(math.pi * progress))
