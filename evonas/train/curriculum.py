"""Curricula of progressive supernet training: which part of the search space each step trains.

A curriculum is a list of `CurriculumStep`s, configured by the files of `conf/sampler`. EvoNAS's progressive
supernet training (PST) opens state size, MLP ratio, expansion and depth in this order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from evonas.errors import UserError
from evonas.space.space import Space
from evonas.supernets.cost_table import CostTable
from evonas.train.distillation.inplace import InPlaceDistillation
from evonas.train.optim.gradient_merge import Merge, NasVit
from evonas.train.sampling.base import LossAwareSampler, Sampler, SamplingStrategy
from evonas.train.sampling.step import CurriculumStep, StepSampler

_CONFIG_GROUP_HINT = "Choose a file with a slash: sampler/inplace_distillation=kl or sampler/merge=pcgrad"
_CHECKPOINTS, _REDUCTIONS = ("best", "last"), ("mean", "sum")


class Curriculum:
    """A training curriculum of a search space.

    Args:
        space: the search space.
        seed: seed of the run.
        steps: `CurriculumStep`s, or mappings of their fields.
        continue_from: weights that a step passes to the next: `best`, those with the lowest panel error during the step
            (see `train.panel_every`), or `last`.
        strategy: sampling strategy within an opening; None samples uniformly.
        inplace_distillation: in-place distillation between the subnets of a batch; None for no distillation.
        merge: how gradients of the subnets are combined; None for the weighted sum.
        shared: genes or groups of genes that all subnets of a batch have alike, such as `resolution`.
        reduction: whether the gradients of a batch's subnets add up to their `mean`, or their `sum`.

    Raises:
        UserError: steps or settings are invalid, or do not fit the space.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        steps: Sequence[CurriculumStep | Mapping[str, Any]],
        continue_from: str = "best",
        strategy: SamplingStrategy | None = None,
        inplace_distillation: InPlaceDistillation | None = None,
        merge: Merge | None = None,
        shared: Sequence[str] = (),
        reduction: str = "mean",
    ) -> None:
        if isinstance(steps, str | Mapping) or not isinstance(steps, Sequence):
            raise UserError(
                f"sampler.steps must be a list of steps, got {steps}.",
                "Try sampler.steps=[{name: all, epochs: 10}]",
            )
        self.steps = tuple(_as_step(step) for step in steps)
        if len({step.name for step in self.steps}) != len(self.steps) or not self.steps:
            raise UserError("A curriculum needs steps with distinct names.", "Check conf/sampler.")
        if continue_from not in _CHECKPOINTS:
            raise UserError(
                f"sampler.continue_from={continue_from} is unknown.", f"Known: {', '.join(_CHECKPOINTS)}"
            )
        for step in self.steps:
            try:
                space.smallest(step.opened)
            except UserError as error:
                raise UserError(
                    f"Curriculum step '{step.name}' does not fit the space. {error.message}",
                    "Choose a curriculum for this space, such as sampler=uniform.",
                ) from error
        for name, kind, made in (
            ("strategy", SamplingStrategy, strategy),
            ("inplace_distillation", InPlaceDistillation, inplace_distillation),
            ("merge", Merge, merge),
        ):
            if made is not None and not isinstance(made, kind):
                hint = (
                    "Choose a sampler with one: sampler=performance_aware"
                    if name == "strategy"
                    else _CONFIG_GROUP_HINT
                )
                raise UserError(f"sampler.{name} must be of type {kind.__name__}, got {made}.", hint)
        if reduction not in _REDUCTIONS:
            raise UserError(f"sampler.reduction={reduction} is unknown.", f"Known: {', '.join(_REDUCTIONS)}")
        if shared and strategy is not None:
            raise UserError(
                "sampler.shared is for subnets that are drawn uniformly, and sampler.strategy draws others.",
                "Leave one of them out.",
            )
        self.shared, self.reduction = _axes(space, shared), reduction
        self._words = tuple(shared)
        self._space, self._seed, self.continue_from = space, seed, continue_from
        self.strategy, self.inplace_distillation, self.merge = strategy, inplace_distillation, merge

    def within(self, max_epochs: int | None) -> "Curriculum":
        """The curriculum with every step limited to `max_epochs`; None for no limit."""
        if max_epochs is None:
            return self
        steps = [
            step
            if step.epochs is not None and step.epochs <= max_epochs
            else replace(step, epochs=max_epochs, warmup_epochs=min(step.warmup_epochs, float(max_epochs)))
            for step in self.steps
        ]
        return Curriculum(
            self._space,
            self._seed,
            steps,
            self.continue_from,
            self.strategy,
            self.inplace_distillation,
            self.merge,
            self._words,
            self.reduction,
        )

    def without_largest(self) -> list[str]:
        """Names of the steps that distil from, or protect, their first subnet although it is not the largest."""
        teaches = self.inplace_distillation is not None and self.inplace_distillation.teacher == "first"
        is_first = teaches or isinstance(self.merge, NasVit)
        steps = [step for step in self.steps if step.num_subnets > 1 and "largest" not in step.always]
        return [step.name for step in steps] if is_first else []

    def sampler(self, step: CurriculumStep) -> StepSampler:
        """The uniform sampler of one of `steps`."""
        return StepSampler(self._space, self._seed, step, self.shared)

    def training_sampler(
        self, step: CurriculumStep, costs: Callable[[], CostTable], total_steps: int
    ) -> Sampler | LossAwareSampler:
        """The sampler that trains one of `steps`.

        Args:
            step: the curriculum step.
            costs: returns the multiply-adds of subnets; called only if a sampling strategy is set.
            total_steps: optimizer steps of the curriculum step.
        """
        uniform = self.sampler(step)
        return uniform if self.strategy is None else self.strategy.sampler(uniform, costs(), total_steps)

    def check_draws(self, costs: Callable[[], CostTable]) -> None:
        """Builds the sampler of every step once, so that a UserError is raised before training."""
        if self.strategy is None:
            return
        table = costs()
        for step in self.steps:
            self.strategy.sampler(self.sampler(step), table, step.optimizer_steps(1))

    def optimizer_steps(self, batches_per_epoch: int) -> int:
        """Optimizer steps of the whole curriculum."""
        return sum(step.optimizer_steps(batches_per_epoch) for step in self.steps)

    def passes(self, batches_per_epoch: int = 1) -> int:
        """Forward-backward passes of all subnets.

        With one batch per epoch the unit is the epoch, unless durations are given in iterations.
        """
        return sum(step.optimizer_steps(batches_per_epoch) * step.num_subnets for step in self.steps)


def _axes(space: Space, words: Sequence[str]) -> tuple[str, ...]:
    """The genes that names of genes and groups mean.

    Raises:
        UserError: a word is neither, or means genes that are rows of bits.
    """
    if isinstance(words, str) or not isinstance(words, Sequence):
        raise UserError(f"sampler.shared must be a list, got {words}.", "Try sampler.shared=[resolution].")
    known, found = {axis.name for axis in space.axes}, list[str]()
    for word in words:
        genes = space.members.get(word, (word,))
        if not set(genes) <= known:
            raise UserError(
                f"sampler.shared has {word!r}, which space {space.name} has not, or which is a row of bits.",
                f"Use: {', '.join(sorted({*known, *space.members}))}.",
            )
        found += genes
    return tuple(dict.fromkeys(found))


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
