"""What a sampler is: which genotypes a training step trains.

The contract. `genotypes(step)` is a pure function of (constructor arguments, step): it
is the same on every rank and after every resume. It never returns an empty list.

A `Judging` sampler looks at losses before it chooses. What it chooses is a function of
(constructor arguments, step, its state, what the judge says); a judge's answers are equal on
every rank, and the state travels with the training's checkpoints, so the same holds for it.
The state is plain data that JSON can hold.

A sampler with a method `weights(count) -> list[float]` says how much each of a step's losses
counts; the weights are positive and sum to one. Without it they count alike.

A `Draw` is a way of choosing, not yet tied to a space: the key `draw` of a curriculum.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from evonas.space.genotype import Genotype
from evonas.supernets.cost_table import CostTable
from evonas.train.sampling.step import StepSampler

Judge = Callable[[Sequence[Genotype]], list[float]]


@runtime_checkable
class Sampler(Protocol):
    """See the module's contract."""

    def genotypes(self, step: int) -> list[Genotype]: ...


@runtime_checkable
class Judging(Protocol):
    """See the module's contract."""

    def chosen(self, step: int, judge: Judge) -> list[Genotype]: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class Draw(Protocol):
    """See the module's contract."""

    def sampler(self, inside: StepSampler, costs: CostTable, total_steps: int) -> Sampler | Judging:
        """A sampler that stays inside the opening of a curriculum step of `total_steps` optimizer steps."""
        ...


def weights_of(sampler: Sampler | Judging, count: int) -> list[float]:
    """How much each of `count` losses of one step counts."""
    own = getattr(sampler, "weights", None)
    return [1.0 / count] * count if own is None else list(own(count))
