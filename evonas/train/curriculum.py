"""Progressive supernet training: which part of the space is open when, as data.

A curriculum is a list of `CurriculumStep`s; the YAML files of `conf/sampler` hold them.
The order of the published one is state, MLP ratio, expansion, depth.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from evonas.errors import UserError
from evonas.space.space import Space
from evonas.supernets.cost_table import CostTable
from evonas.train.distillation.inplace import InPlace
from evonas.train.optim.gradient_merge import Merge, NasVit
from evonas.train.sampling.base import Draw, Judging, Sampler
from evonas.train.sampling.step import CurriculumStep, StepSampler

_AS_A_FILE = "Choose a file with a slash: sampler/lesson=kl or sampler/merge=pcgrad"
_CHAINS = ("best", "last")


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
