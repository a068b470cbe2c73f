"""Learning rate as a function of the step, so that a resumed run needs no scheduler state."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal, get_args

from evonas.errors import UserError

Shape = Literal["cosine", "poly", "multistep"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Linear warm-up, then one of three shapes, per optimizer step; the defaults are EvoNAS's for depth.

    - `cosine`: its period is the whole length and its clock starts after the warm-up, as in the published
      recipe; it therefore ends slightly above `minimum`.
    - `poly`: minimum + (peak - minimum) (1 - progress)^power, where progress goes from 0 after the warm-up to
      1 at the end (published for ADE20K, power 1).
    - `multistep`: peak times `gamma` for every milestone that has been reached, never below `minimum`
      (published for COCO).

    Args:
        total_steps: optimizer steps of this training, warm-up included.
        warmup_steps: steps from `start` to `peak`.
        peak: highest learning rate.
        start: learning rate of step 0 when there is a warm-up.
        minimum: floor of every shape; the warm-up may start below it.
        shape: see above.
        power: of `poly`.
        milestones: steps, counted from 0, from which on the rate is smaller; of `multistep`.
        gamma: of `multistep`.
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

    def __post_init__(self) -> None:
        if self.shape not in get_args(Shape):
            raise UserError(
                f"train.*.schedule={self.shape} is unknown.", f"Known: {', '.join(get_args(Shape))}"
            )
        if self.shape == "multistep" and (
            not self.milestones or list(self.milestones) != sorted(self.milestones)
        ):
            raise UserError(
                f"schedule=multistep with milestones={list(self.milestones)} has no steps in order.",
                "Give them in epochs, such as milestones=[8,11].",
            )

    def at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.start + (self.peak - self.start) * step / self.warmup_steps
        if self.shape == "multistep":
            return max(self.minimum, self.peak * self.gamma ** bisect_right(self.milestones, step))
        span = self.peak - self.minimum
        if self.shape == "poly":
            progress = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
            return self.minimum + span * max(0.0, 1.0 - progress) ** self.power
        progress = (step - self.warmup_steps) / max(1, self.total_steps)
        return self.minimum + 0.5 * span * (1.0 + math.cos(math.pi * progress))
