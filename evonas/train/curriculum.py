"""Progressive supernet training: which part of the space is open when, as data.

A curriculum is a list of `CurriculumStep`s; the YAML files of `conf/sampler` hold them.
The order of the published one is state, MLP ratio, expansion, depth.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from evonas.config_types import refuse_fractions
from evonas.errors import UserError
from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.cost_table import CostTable
from evonas.train.distillation.inplace import InPlace
from evonas.train.optim.duration import Length
from evonas.train.optim.gradient_merge import Merge, NasVit
from evonas.train.sampling.base import Draw, Judging, Sampler

_ALWAYS = ("largest", "smallest")
_AS_A_FILE = "Choose a file with a slash: sampler/lesson=kl or sampler/merge=pcgrad"
_CHAINS = ("best", "last")


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


class PST:
    """A curriculum bound to a space and a seed.

    Args:
        space: the searched space.
        seed: the seed of the run.
        steps: `CurriculumStep`s, or mappings with its fields as they come from YAML.
        chain: which weights a step hands on: `best` of those that were measured while it
            trained (see `train.panel_every`), or `last`.
        draw: how subnets are drawn within an opening; None for independent uniform choices.
        lesson: what the subnets of one batch teach one another; None for nothing.
        merge: how their gradients become one; None for the weighted sum.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        steps: Sequence[CurriculumStep | Mapping[str, Any]],
        chain: str = "best",
        draw: Draw | None = None,
        lesson: InPlace | None = None,
        merge: Merge | None = None,
    ) -> None:
        self.steps = _as_steps(steps)
        if len({step.name for step in self.steps}) != len(self.steps) or not self.steps:
            raise UserError("A curriculum needs steps, each with a name of its own.", "Check conf/sampler.")
        if chain not in _CHAINS:
            raise UserError(f"sampler.chain={chain} is unknown.", f"Known: {', '.join(_CHAINS)}")
        for step in self.steps:
            _check_opening(space, step)
        for name, kind, made in (("draw", Draw, draw), ("lesson", InPlace, lesson), ("merge", Merge, merge)):
            if made is not None and not isinstance(made, kind):
                hint = "Choose a sampler with one: sampler=banks" if name == "draw" else _AS_A_FILE
                raise UserError(f"sampler.{name}={made} is no {name}.", hint)
        self._space, self._seed, self.chain = space, seed, chain
        self.draw, self.lesson, self.merge = draw, lesson, merge

    def within(self, max_epochs: int | None) -> "PST":
        """The same curriculum with no step longer than `max_epochs`; None for no ceiling."""
        steps = [_within(step, max_epochs) for step in self.steps]
        return PST(self._space, self._seed, steps, self.chain, self.draw, self.lesson, self.merge)

    def without_largest(self) -> list[str]:
        """The steps whose first subnet ought to be the largest, since others learn from it, and is not."""
        teaches = self.lesson is not None and self.lesson.teacher == "first"
        is_first = teaches or isinstance(self.merge, NasVit)
        steps = [step for step in self.steps if step.num_subnets > 1 and "largest" not in step.always]
        return [step.name for step in steps] if is_first else []

    def sampler(self, step: CurriculumStep) -> StepSampler:
        """Plain draws within the opening of one of `steps`."""
        return StepSampler(self._space, self._seed, step)

    def training_sampler(
        self, step: CurriculumStep, costs: Callable[[], CostTable], total_steps: int
    ) -> Sampler | Judging:
        """The sampler to train one of `steps` with, of so many optimizer steps.

        Args:
            costs: asked only where the draw may need them, since not every space has closed forms.
        """
        inside = self.sampler(step)
        return inside if self.draw is None else self.draw.sampler(inside, costs(), total_steps)

    def check_draws(self, costs: Callable[[], CostTable]) -> None:
        """Make the sampler of every step once: a UserError comes now, not when the step's turn does."""
        if self.draw is None:
            return
        table = costs()
        for step in self.steps:
            self.draw.sampler(self.sampler(step), table, step.optimizer_steps(1))

    def optimizer_steps(self, batches_per_epoch: int) -> int:
        """Optimizer steps of the whole curriculum."""
        return sum(step.optimizer_steps(batches_per_epoch) for step in self.steps)

    def passes(self, batches_per_epoch: int = 1) -> int:
        """Forward-backward passes: every subnet of a batch counts.

        With one batch an epoch the unit is the epoch, unless steps are given in iterations.
        """
        return sum(step.optimizer_steps(batches_per_epoch) * step.num_subnets for step in self.steps)


def _within(step: CurriculumStep, max_epochs: int | None) -> CurriculumStep:
    if max_epochs is None or (step.epochs is not None and step.epochs <= max_epochs):
        return step
    return replace(step, epochs=max_epochs, warmup_epochs=min(step.warmup_epochs, float(max_epochs)))


def _check_opening(space: Space, step: CurriculumStep) -> None:
    """Refuse an opening that the space cannot have, hours before its turn comes."""
    try:
        space.smallest(step.opened)
    except UserError as error:
        raise UserError(
            f"Curriculum step '{step.name}' does not fit the space. {error.message}",
            "Choose a curriculum for this space, such as sampler=uniform.",
        ) from error


def _as_steps(steps: Any) -> tuple[CurriculumStep, ...]:
    if isinstance(steps, str | Mapping) or not isinstance(steps, Sequence):
        raise UserError(
            f"sampler.steps={steps} is no list of steps.", "Try sampler.steps=[{name: all, epochs: 10}]"
        )
    return tuple(_as_step(step) for step in steps)


def _as_step(step: CurriculumStep | Mapping[str, Any]) -> CurriculumStep:
    if isinstance(step, CurriculumStep):
        return step
    try:
        opened = {
            str(prefix): allowed if isinstance(allowed, str) else tuple(allowed)
            for prefix, allowed in dict(step.get("opened") or {}).items()
        }
        tuples = {name: tuple(step.get(name, ())) for name in ("always", "milestones")}
        return CurriculumStep(**{**step, "opened": opened, **tuples})
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"Curriculum step {step} is malformed: {error}.", "Check conf/sampler.") from error
