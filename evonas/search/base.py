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
    """A point and its objective values, or None where it could not be measured.

    `estimated` values come from a part of the data and are dominated by a point that is not estimated.
    """

    genotype: Genotype
    objectives: tuple[float, ...] | None
    estimated: bool = False


@runtime_checkable
class Searcher(Protocol):
    """See the module's contract."""

    def ask(self) -> list[Genotype]: ...

    def tell(self, facts: Sequence[Told]) -> None: ...


@runtime_checkable
class SteadySearcher(Protocol):
    """A searcher that may also be asked for one point at a time, while others are not told yet.

    `ask_one` returns a point that was never asked before; None says that none is left, or that none can
    be chosen before more is told. `tell_one` takes the facts in whatever order they come, each once. What
    is asked is a pure function of the calls in their order. One object is used in one of the two ways.
    """

    def ask_one(self) -> Genotype | None: ...

    def tell_one(self, fact: Told) -> None: ...
