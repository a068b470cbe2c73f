"""Progressive supernet training: which part of the space is open when, as data.

A curriculum is a list of `CurriculumStep`s; the YAML files of `conf/sampler` hold them.
The order of the published one is state, MLP ratio, expansion, depth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from string import digits
from typing import Any

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.space.genotype import Genotype
from evonas.space.space import Space

_ALWAYS = ("largest", "smallest")


@dataclass(frozen=True, slots=True)
class CurriculumStep:
    """One entry of a curriculum.

    Args:
        name: unique in its curriculum; part of random streams and of file names.
        opened: the opening of the space, prefix to allowed choices (see `Space.sample`).
        num_subnets: subnets whose gradients are averaged on every batch.
        epochs: passes over the training split.
        warmup_epochs: linear warm-up at the start of this step.
        always: `largest` and/or `smallest`: trained at every batch, as part of num_subnets.
    """

    name: str
    opened: Mapping[str, Any] = field(default_factory=dict)
    num_subnets: int = 1
    epochs: int = 1
    warmup_epochs: float = 0.0
    always: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.num_subnets < 1 or self.epochs < 0 or self.warmup_epochs < 0:
            raise UserError(
                f"Curriculum step '{self.name}' has a negative or empty length.", "Check conf/sampler."
            )
        if unknown := set(self.always) - set(_ALWAYS):
            raise UserError(f"Curriculum step '{self.name}': unknown {sorted(unknown)}.", f"Known: {_ALWAYS}")
        if len(self.always) > self.num_subnets:
            raise UserError(
                f"Curriculum step '{self.name}' has no room for {self.always}.", "Raise num_subnets."
            )

    def optimizer_steps(self, batches_per_epoch: int) -> int:
        """Optimizer steps of this curriculum step."""
        return self.epochs * batches_per_epoch


class StepSampler:
    """The sampler of one curriculum step: independent uniform choices within its opening.

    Satisfies `evonas.train.samplers.Sampler`: a pure function of the arguments and `step`.
    """

    def __init__(self, space: Space, seed: int, step: CurriculumStep) -> None:
        self._space, self._seed, self._step = space, seed, step

    def genotypes(self, step: int) -> list[Genotype]:
        """The subnets of one optimizer step, equal on every rank and after every resume."""
        fixed = [self._corner(name) for name in self._step.always]
        rng = generator(self._seed, f"subnets/{self._step.name}", step)
        free = self._step.num_subnets - len(fixed)
        return fixed + [self._space.sample(rng, opened=dict(self._step.opened)) for _ in range(free)]

    def _corner(self, name: str) -> Genotype:
        """The largest or smallest subnet within the opening."""
        pick = max if name == "largest" else min
        values = self._space.decode(self._space.largest() if name == "largest" else self._space.smallest())
        for gene, value in values.items():
            allowed = self._step.opened.get(gene.rstrip(digits), "free")
            if allowed == "all":
                values[gene] = (1,) * len(value)
            elif allowed != "free":
                values[gene] = pick(allowed)
        return self._space.encode(values)


class PST:
    """A curriculum bound to a space and a seed.

    Args:
        space: the searched space.
        seed: the seed of the run.
        steps: `CurriculumStep`s, or mappings with its fields as they come from YAML.
    """

    def __init__(self, space: Space, seed: int, steps: Sequence[CurriculumStep | Mapping[str, Any]]) -> None:
        self.steps = tuple(_as_step(step) for step in steps)
        if len({step.name for step in self.steps}) != len(self.steps) or not self.steps:
            raise UserError("A curriculum needs steps, each with a name of its own.", "Check conf/sampler.")
        self._space, self._seed = space, seed

    def within(self, max_epochs: int | None) -> "PST":
        """The same curriculum with no step longer than `max_epochs`; None for no ceiling."""
        return PST(self._space, self._seed, [_within(step, max_epochs) for step in self.steps])

    def sampler(self, step: CurriculumStep) -> StepSampler:
        """The sampler to train one of `steps` with."""
        return StepSampler(self._space, self._seed, step)

    def optimizer_steps(self, batches_per_epoch: int) -> int:
        """Optimizer steps of the whole curriculum."""
        return sum(step.optimizer_steps(batches_per_epoch) for step in self.steps)

    def passes(self) -> int:
        """Forward-backward passes in epochs: every subnet of a batch counts."""
        return sum(step.epochs * step.num_subnets for step in self.steps)


def _within(step: CurriculumStep, max_epochs: int | None) -> CurriculumStep:
    if max_epochs is None or step.epochs <= max_epochs:
        return step
    return replace(step, epochs=max_epochs, warmup_epochs=min(step.warmup_epochs, float(max_epochs)))


def _as_step(step: CurriculumStep | Mapping[str, Any]) -> CurriculumStep:
    if isinstance(step, CurriculumStep):
        return step
    opened = {
        str(prefix): allowed if isinstance(allowed, str) else tuple(allowed)
        for prefix, allowed in step.get("opened", {}).items()
    }
    values = {**step, "opened": opened, "always": tuple(step.get("always", ()))}
    try:
        return CurriculumStep(**values)
    except TypeError as error:
        raise UserError(
            f"Curriculum step {dict(step)} is malformed: {error}.", "Check conf/sampler."
        ) from error
