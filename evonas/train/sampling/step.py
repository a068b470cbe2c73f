"""One step of a curriculum, and plain draws within its opening."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from evonas.config_types import refuse_fractions
from evonas.errors import UserError
from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.train.optim.duration import Length

_ALWAYS = ("largest", "smallest")


@dataclass(frozen=True, slots=True)
class CurriculumStep:
    """One entry of a curriculum.

    Its length is given in epochs, in iterations, or in both: then the shorter one counts.

    Args:
        name: unique in its curriculum; part of random streams and of file names.
        opened: the opening of the space: a group (`kernel`), prefix or gene to allowed choices, "max" or
            "min" (see `evonas.space.opening.narrowed`).
        num_subnets: subnets whose gradients are averaged on every batch.
        epochs: passes over the training split; one, where no length is given.
        warmup_epochs: linear warm-up at the start of this step.
        iterations: optimizer steps.
        warmup_iterations: linear warm-up in optimizer steps, instead of warmup_epochs.
        always: `largest` and/or `smallest`: at every batch, the largest first, as part of num_subnets.
        milestones: of a recipe with schedule=multistep, in epochs of this step; none for the recipe's own.
    """

    name: str
    opened: Mapping[str, Any] = field(default_factory=dict)
    num_subnets: int = 1
    epochs: int | None = None
    warmup_epochs: float = 0.0
    iterations: int | None = None
    warmup_iterations: int = 0
    always: tuple[str, ...] = ()
    milestones: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.epochs is None and self.iterations is None:
            object.__setattr__(self, "epochs", 1)
        refuse_fractions(f"Curriculum step '{self.name}'", CurriculumStep, asdict(self))
        lengths = (self.epochs or 0, self.warmup_epochs, self.iterations or 0, self.warmup_iterations)
        if self.num_subnets < 1 or min(lengths) < 0:
            raise UserError(
                f"Curriculum step '{self.name}' has a negative or empty length.", "Check conf/sampler."
            )
        if self.warmup_epochs and self.warmup_iterations:
            raise UserError(
                f"Curriculum step '{self.name}' has two warm-ups.", "Keep warmup_epochs or warmup_iterations."
            )
        if unknown := set(self.always) - set(_ALWAYS):
            raise UserError(f"Curriculum step '{self.name}': unknown {sorted(unknown)}.", f"Known: {_ALWAYS}")
        if len(self.always) > self.num_subnets:
            raise UserError(
                f"Curriculum step '{self.name}' has no room for {self.always}.", "Raise num_subnets."
            )

    @property
    def length(self) -> Length:
        """How long it is."""
        return Length(self.epochs, self.iterations, self.warmup_epochs, self.warmup_iterations)

    def optimizer_steps(self, batches_per_epoch: int) -> int:
        """Optimizer steps of this curriculum step."""
        return self.length.optimizer_steps(batches_per_epoch)

    def warmup_steps(self, batches_per_epoch: int) -> int:
        """Optimizer steps of its warm-up."""
        return self.length.warmup_steps(batches_per_epoch)

    def plain(self) -> dict[str, Any]:
        """The fields as JSON gives them back: lists, not tuples; milestones only where there are any."""
        opened = {key: value if isinstance(value, str) else list(value) for key, value in self.opened.items()}
        plain = {**asdict(self), "opened": opened, "always": list(self.always)}
        milestones = list(plain.pop("milestones"))
        return {**plain, "milestones": milestones} if milestones else plain


class StepSampler:
    """The sampler of one curriculum step: independent uniform choices within its opening.

    Satisfies `evonas.train.sampling.base.Sampler`: a pure function of the arguments and `step`.
    """

    def __init__(self, space: Space, seed: int, step: CurriculumStep) -> None:
        self.space, self.seed, self.step = space, seed, step

    def genotypes(self, step: int) -> list[Genotype]:
        """The subnets of one optimizer step, equal on every rank and after every resume."""
        rng = generator(self.seed, f"subnets/{self.step.name}", step)
        return self.corners + [self._drawn(rng) for _ in range(self.free)]

    def example(self, index: int) -> Genotype:
        """A random subnet of the opening to measure with: a function of (seed, step's name, index)."""
        return self._drawn(generator(self.seed, f"panel/{self.step.name}", index))

    def _drawn(self, rng: np.random.Generator) -> Genotype:
        return self.space.sample(rng, opened=dict(self.step.opened))

    @cached_property
    def corners(self) -> list[Genotype]:
        """What the step always trains, the largest first; every draw begins with it."""
        return [self.corner(name) for name in _ALWAYS if name in self.step.always]

    @property
    def free(self) -> int:
        """How many subnets of an optimizer step are drawn."""
        return self.step.num_subnets - len(self.corners)

    def corner(self, name: str) -> Genotype:
        """The `largest` or `smallest` subnet within the opening."""
        extreme = self.space.largest if name == "largest" else self.space.smallest
        return extreme(self.step.opened)
