"""Contracts of subnet samplers: which genotypes an optimizer step trains.

`Sampler.genotypes(step)` is a pure function of (constructor arguments, step), so it returns the same list on
every rank and after every resume. The list is never empty.

A `LossAwareSampler` evaluates losses before it chooses. Its choice is a function of (constructor arguments,
step, state, losses). A loss oracle returns equal losses on every rank and the training checkpoint contains the
sampler's state, so the choice is also the same on every rank and after every resume. The state is JSON-serialisable.

A sampler may define `weights(count) -> list[float]`, the weights of a step's losses; they are positive and sum to
one. Without this method all losses have equal weights.

A `SamplingStrategy` builds the sampler of a curriculum step; the config key is `sampler.strategy`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from evonas.space.genotype import Genotype
from evonas.supernets.cost_table import CostTable
from evonas.train.sampling.step import StepSampler

# the losses of genotypes on the current batch, averaged over ranks
LossOracle = Callable[[Sequence[Genotype]], list[float]]


@runtime_checkable
class Sampler(Protocol):
    """Returns the subnets of an optimizer step; see the module's contract."""

    def genotypes(self, step: int) -> list[Genotype]: ...


@runtime_checkable
class LossAwareSampler(Protocol):
    """Chooses the subnets of an optimizer step by their losses; see the module's contract."""

    def chosen(self, step: int, oracle: LossOracle) -> list[Genotype]: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class SamplingStrategy(Protocol):
    """Builds the sampler of a curriculum step; see the module's contract."""

    def sampler(self, uniform: StepSampler, costs: CostTable, total_steps: int) -> Sampler | LossAwareSampler:
        """The sampler of a curriculum step; it returns genotypes of the step's opening only.

        Args:
            uniform: uniform sampler of the curriculum step.
            costs: multiply-adds of genotypes.
            total_steps: optimizer steps of the curriculum step.
        """
        ...


def weights_of(sampler: Sampler | LossAwareSampler, count: int) -> list[float]:
    """The weights of the `count` losses of one step; positive, with sum one."""
    own = getattr(sampler, "weights", None)
    return [1.0 / count] * count if own is None else list(own(count))
