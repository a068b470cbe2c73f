"""What a searcher is: it asks for points and is told facts.

The contract. `ask` returns the next batch of canonical genotypes of its space, and an
empty list when it has nothing more to ask. Every batch must be told, whole and in the
order asked, before the next `ask`. A failed point is told with `objectives=None`; it
may influence where the searcher looks, but is never selected as good. All objectives
are minimised. A searcher is a pure function of its constructor's arguments and of what
it was told: two searchers with the same arguments that are told the same answer the
same. It never reads a clock, a file or a global generator, and never imports torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from evonas.space.genotype import Genotype


@dataclass(frozen=True, slots=True)
class Told:
    """A point and its objective values, or None where it could not be measured."""

    genotype: Genotype
    objectives: tuple[float, ...] | None


@runtime_checkable
class Searcher(Protocol):
    """See the module's contract."""

    def ask(self) -> list[Genotype]: ...

    def tell(self, facts: Sequence[Told]) -> None: ...
