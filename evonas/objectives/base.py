"""What an objective is: one number of a genotype, to be minimised.

The contract. `prepare` receives the context (supernet, task, batches, device) once per
worker and may warm up. `measure` returns a finite float in `unit`, and facts worth
keeping beside it; it raises rather than returning NaN. `identity` describes everything
the number depends on besides the genotype, as plain JSON data; equal identities mean
that numbers may be compared and reused. Objectives of the part `exclusive` may assume
that nothing else of ours runs on the device.

An objective that looks at data may also be `Pooled`: it measures several genotypes in one
pass over the data, and can be told to look at the first images alone. Its `identity` speaks
of the whole split; the evaluator adds how many images there were.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from evonas.evaluate.engine import Part
from evonas.space.genotype import Genotype

if TYPE_CHECKING:
    from evonas.objectives.context import EvaluationContext


@runtime_checkable
class Objective(Protocol):
    """See the module's contract."""

    name: str
    unit: str
    part: Part

    def prepare(self, context: "EvaluationContext") -> None: ...

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]: ...

    def identity(self, context: "EvaluationContext") -> Mapping[str, Any]: ...


@runtime_checkable
class Pooled(Protocol):
    """An objective that measures together; the answers, one per genotype, are those of `measure`."""

    def measure_together(
        self, genotypes: Sequence[Genotype], images: int | None = None
    ) -> Sequence[tuple[float, Mapping[str, Any]] | Exception]: ...
