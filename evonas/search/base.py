"""The ask/tell contract of searchers.

`ask` returns the next batch of canonical genotypes of the searcher's space, and an empty list when the
search is finished. The caller evaluates the whole batch and passes the observations to `tell`, in the order
asked, before the next `ask`. A failed evaluation is an observation with `objectives=None`; it may influence
where the searcher looks, but it is never selected as good. All objectives are minimised. A searcher is a pure
function of its constructor's arguments and of its observations: two searchers with equal arguments and equal
observations ask for equal points. A searcher never reads a clock, a file or a global random generator, and
never imports torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from evonas.space.genotype import Genotype


@dataclass(frozen=True, slots=True)
class Observation:
    """A genotype and its objective values.

    Args:
        objectives: values in the order of the search's objectives; None if the evaluation failed.
        estimated: whether the values extrapolate from part of the data (see `loop.racing`). An estimated
            point never belongs to the Pareto front.
    """

    genotype: Genotype
    objectives: tuple[float, ...] | None
    estimated: bool = False


@runtime_checkable
class Searcher(Protocol):
    """A batch searcher; the module's docstring states the contract."""

    def ask(self) -> list[Genotype]: ...

    def tell(self, observations: Sequence[Observation]) -> None: ...


@runtime_checkable
class ChecksObjectives(Protocol):
    """A searcher that does not fit every number of objectives."""

    def check_objectives(self, names: Sequence[str]) -> None:
        """Raise a UserError unless the searcher uses each of these objectives; called before the search begins."""
        ...


@runtime_checkable
class AsynchronousSearcher(Protocol):
    """A searcher that can also be asked for one point while other points are pending.

    `ask_one` returns a point that was never asked before, or None if none is left or none can be chosen
    before more observations arrive. `tell_one` takes the observations in any order, each once. The points
    are a pure function of the sequence of calls. One object is used either in batches or asynchronously.
    """

    def ask_one(self) -> Genotype | None: ...

    def tell_one(self, observation: Observation) -> None: ...
