"""One step of a curriculum, and its uniform sampler."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from evonas.config_types import refuse_wrong_kinds
from evonas.errors import UserError
from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.train.optim.lr_schedule import Duration

_ALWAYS = ("largest", "narrowest", "smallest")
_RESOLUTION = "resolution"


@dataclass(frozen=True, slots=True)
class CurriculumStep:
    """One step of a curriculum.

    The duration is given in epochs, in iterations, or in both; the shorter one applies.

    Args:
        name: unique in the curriculum; part of random streams and file names.
        opened: the opening of the space: maps a group (`kernel`), prefix or gene to its allowed choices, "max" or
            "min" (see `evonas.space.opening.narrowed`).
        num_subnets: subnets per batch, whose gradients are averaged.
        epochs: passes over the training split; 1 if no duration is given.
        warmup_epochs: linear learning-rate warm-up at the start of the step.
        iterations: optimizer steps.
        warmup_iterations: warm-up in optimizer steps, instead of warmup_epochs.
        always: some of `largest`, `narrowest` and `smallest`: subnets trained on every batch, the largest first; they
            count in num_subnets. The narrowest is the smallest that reads whole images: where subnets read smaller
            ones too, the smallest alone would train narrow layers for small images.
        milestones: of schedule=multistep, in epochs of this step; empty for those of the training recipe.
        lr: highest learning rate of this step; None for that of the recipe.
        lr_start: learning rate at the beginning of its warm-up; None for that of the recipe.

    Raises:
        UserError: the settings contradict each other.
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
    lr: float | None = None
    lr_start: float | None = None

    def __post_init__(self) -> None:
        if self.epochs is None and self.iterations is None:
            object.__setattr__(self, "epochs", 1)
        refuse_wrong_kinds(f"Curriculum step '{self.name}'", CurriculumStep, asdict(self))
        lengths = (self.epochs or 0, self.warmup_epochs, self.iterations or 0, self.warmup_iterations)
        if self.num_subnets < 1 or min(lengths) < 0:
            raise UserError(
                f"Curriculum step '{self.name}' has a negative duration or trains no subnet.",
                "Check conf/sampler.",
            )
        if self.warmup_epochs and self.warmup_iterations:
            raise UserError(
                f"Curriculum step '{self.name}' sets warmup_epochs and warmup_iterations.",
                "Keep one of them.",
            )
        for key, rate in self.rates.items():
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < math.inf:
                raise UserError(
                    f"Curriculum step '{self.name}' has {key}={rate}.",
                    "A learning rate is a number from 0 on.",
                )
        if unknown := set(self.always) - set(_ALWAYS):
            raise UserError(f"Curriculum step '{self.name}': unknown {sorted(unknown)}.", f"Known: {_ALWAYS}")
        if len(self.always) > self.num_subnets:
            raise UserError(
                f"Curriculum step '{self.name}' trains {self.num_subnets} subnets, fewer than {self.always}.",
                "Raise num_subnets.",
            )

    @property
    def rates(self) -> dict[str, Any]:
        """The learning rates that differ from the recipe's, by the recipe's names."""
        return {key: rate for key in ("lr", "lr_start") if (rate := getattr(self, key)) is not None}

    @property
    def length(self) -> Duration:
        """Duration and warm-up of the step."""
        return Duration(self.epochs, self.iterations, self.warmup_epochs, self.warmup_iterations)

    def optimizer_steps(self, batches_per_epoch: int) -> int:
        """Optimizer steps of this curriculum step."""
        return self.length.optimizer_steps(batches_per_epoch)

    def warmup_steps(self, batches_per_epoch: int) -> int:
        """Optimizer steps of the warm-up."""
        return self.length.warmup_steps(batches_per_epoch)

    def plain(self) -> dict[str, Any]:
        """The fields as JSON data; without milestones and learning rates if they are the recipe's."""
        opened = {key: value if isinstance(value, str) else list(value) for key, value in self.opened.items()}
        plain = {**asdict(self), "opened": opened, "always": list(self.always)}
        milestones = list(plain.pop("milestones"))
        plain = {key: value for key, value in plain.items() if key not in ("lr", "lr_start")} | self.rates
        return {**plain, "milestones": milestones} if milestones else plain


class StepSampler:
    """Uniform sampler of one curriculum step: genes are independent and uniform over its opening.

    Args:
        space: the search space.
        seed: seed of the run.
        step: the curriculum step.
        shared: genes that all subnets of an optimizer step have alike, drawn once for each, such as the size of the
            images (Once-for-All).
    """

    def __init__(self, space: Space, seed: int, step: CurriculumStep, shared: Sequence[str] = ()) -> None:
        self.space, self.seed, self.step, self.shared = space, seed, step, tuple(shared)

    def genotypes(self, step: int) -> list[Genotype]:
        """The subnets of one optimizer step."""
        rng = generator(self.seed, f"subnets/{self.step.name}", step)
        if not self.shared:
            return self.corners + [self._drawn(rng) for _ in range(self.free)]
        values = self.space.decode(self._drawn(rng))
        opened = {**self.step.opened, **{gene: [values[gene]] for gene in self.shared}}
        corners = [self.corner(name, opened) for name in self._names]
        return corners + [self.space.sample(rng, opened) for _ in range(self.free)]

    def example(self, index: int) -> Genotype:
        """A random subnet of the opening, for validation panels: a function of (seed, step's name, index)."""
        return self._drawn(generator(self.seed, f"panel/{self.step.name}", index))

    def _drawn(self, rng: np.random.Generator) -> Genotype:
        return self.space.sample(rng, opened=dict(self.step.opened))

    @cached_property
    def corners(self) -> list[Genotype]:
        """The fixed subnets (`always`), the largest first; every sampling strategy returns them first."""
        return [self.corner(name) for name in self._names]

    @property
    def _names(self) -> list[str]:
        return [name for name in _ALWAYS if name in self.step.always]

    @property
    def free(self) -> int:
        """Number of sampled subnets per optimizer step."""
        return self.step.num_subnets - len(self.corners)

    @property
    def trained_alone(self) -> Genotype | None:
        """The only subnet that the step trains; None if there are several."""
        found = {*self.corners, *([self.corner(name) for name in _ALWAYS] if self.free else ())}
        return found.pop() if len(found) == 1 else None

    def corner(self, name: str, opened: Mapping[str, Any] | None = None) -> Genotype:
        """The `largest`, `narrowest` or `smallest` subnet of an opening, by default that of the step."""
        opened = self.step.opened if opened is None else opened
        if name == "largest":
            return self.space.largest(opened)
        is_whole = name == "narrowest" and _RESOLUTION in self.space.members
        return self.space.smallest({**opened, _RESOLUTION: "max"} if is_whole else opened)
