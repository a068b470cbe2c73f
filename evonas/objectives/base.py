"""Contract of objectives: an objective maps a genotype to one number, which is minimised.

`prepare` is called once per worker with the evaluation context (supernet, task, batches, device) and may warm up.
`measure` returns a finite float in `unit` and additional facts to store with it; it raises an exception instead of
returning NaN. `identity` contains, as JSON data, everything the value depends on besides the genotype; values with
equal identities may be compared and reused. Objectives with `part = "exclusive"` run while no other evaluation uses
the device.

An objective that evaluates data may also be `Pooled`: it measures several genotypes in one pass over the data and
supports the first images alone. Its `identity` describes the whole split; the evaluator adds the number of images.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from evonas.evaluate.engine import Part
from evonas.space.genotype import Genotype

if TYPE_CHECKING:
    from torch import nn

    from evonas.objectives.context import EvaluationContext


@runtime_checkable
class Objective(Protocol):
    """A minimised number of a genotype; see the module's contract."""

    name: str
    unit: str
    part: Part

    def prepare(self, context: "EvaluationContext") -> None: ...

    def measure(self, genotype: Genotype) -> tuple[float, Mapping[str, Any]]: ...

    def identity(self, context: "EvaluationContext") -> Mapping[str, Any]: ...


@runtime_checkable
class Pooled(Protocol):
    """An objective that evaluates several genotypes in one pass over the data."""

    def measure_together(
        self, genotypes: Sequence[Genotype], images: int | None = None
    ) -> Sequence[tuple[float, Mapping[str, Any]] | Exception]:
        """For each genotype the result of `measure`, or the exception it raises.

        Args:
            genotypes: in any order, possibly repeated.
            images: number of validation images; None for the whole split.
        """
        ...


@runtime_checkable
class AnyNetwork(Protocol):
    """An objective that also measures networks outside the search space, on the same scale."""

    def measure_network(self, net: "nn.Module") -> tuple[float, Mapping[str, Any]]:
        """What `measure` returns, for a network in eval mode on the context's device."""
        ...


def fingerprint_of(identity: Mapping[str, Any]) -> str:
    """The sha256 of an identity (JSON data); values with equal fingerprints may be reused."""
    text = json.dumps(identity, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
