"""Evolution of real matrices that say networks, as SasWOT searches (Dong et al., AAAI 2024).

FasterSeg's supernet describes a network by matrices: operators by alpha, paths by beta. SasWOT evolves the matrices
instead of the network: a mutant has new random rows in one matrix, a crossover has alpha of one parent and beta of
another, and networks that were recorded before are not scored again. What the matrices are is up to `Matrices`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.search.analytic_objectives import by_index
from evonas.search.base import Observation
from evonas.search.evolution.genetic import check_probability
from evonas.search.history import History
from evonas.search.operators import sample_unseen
from evonas.search.ranking import best_first
from evonas.space.genotype import Genotype
from evonas.space.space import Space

Array = NDArray[np.float64]
# groups of matrices by name, such as alpha, each a list of matrices of any number of rows
Groups = Mapping[str, Sequence[Array]]
# draws for each network that is missing: children of few parents are soon all known
_CHILD_TRIES, _RANDOM_TRIES = 10, 100


class Matrices(Protocol):
    """Real matrices that say networks of a space, in groups that a crossover keeps whole."""

    def draw(self, space: Space, rng: np.random.Generator) -> Groups:
        """Random matrices.

        Raises:
            UserError: there are no such matrices for this space.
        """
        ...

    def decode(self, space: Space, groups: Groups) -> Genotype | None:
        """The network that they say; None if it is not one of the space."""
        ...


class GeneMatrices:
    """For any space: a group for each group of genes, with a row for each position; the largest entry is the choice."""

    def draw(self, space: Space, rng: np.random.Generator) -> Groups:
        """Standard normal numbers; what a position does not offer is never the largest."""
        offered = np.array(space.cardinalities)
        rows = rng.standard_normal((len(offered), offered.max()))
        rows[np.arange(rows.shape[1]) >= offered[:, None]] = -np.inf
        return {group: [rows[_positions(space, group)]] for group in _groups(space)}

    def decode(self, space: Space, groups: Groups) -> Genotype | None:
        """The choices of all rows."""
        vector = np.zeros(len(space.cardinalities), dtype=int)
        for group, (rows,) in groups.items():
            vector[_positions(space, group)] = rows.argmax(axis=1)
        with suppress(UserError):
            return space.from_vector(vector.tolist())
        return None


def _groups(space: Space) -> list[str]:
    """The genes' names without their numbers, in order."""
    return list(dict.fromkeys(name.rstrip("0123456789") for name in space.spans))


def _positions(space: Space, group: str) -> list[int]:
    """The positions of a group's genes."""
    spans = (span for name, span in space.spans.items() if name.rstrip("0123456789") == group)
    return [at for span in spans for at in range(span.start, span.stop)]


class MatrixEvolution:
    """Each generation has mutants and crossovers of the best matrices so far, and random ones.

    Where matrices say nothing new any more, random networks of the space are asked for.

    Args:
        space: search space.
        seed: random seed.
        population: points per generation.
        evaluations: evaluation budget, in points.
        matrices: what says the networks; None for `GeneMatrices`.
        keep: number of parents.
        mutants: share of a generation that are mutants.
        crossovers: share that are crossovers; the rest is random.
        row_prob: probability that a row of the mutated group is drawn anew; one is at least.
        compete: objectives by which parents are chosen; by default all. Objectives are names, or indices from 0.
        objectives: names of the objectives in order; the search stage sets them.
        start: points to ask for before all others; they have no matrices and so no children.

    Raises:
        UserError: the budget is below 1, a share is not one or together they exceed 1, an objective is unknown, or
            the matrices are not of this space.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int,
        evaluations: int,
        matrices: Matrices | None = None,
        keep: int = 10,
        mutants: float = 0.4,
        crossovers: float = 0.4,
        row_prob: float = 0.1,
        compete: Sequence[str | int] = (),
        objectives: Sequence[str] = (),
        start: Sequence[Genotype] = (),
    ) -> None:
        self._history = History(space, population, evaluations)
        for name, value in (("mutants", mutants), ("crossovers", crossovers), ("row_prob", row_prob)):
            check_probability(name, value)
        if mutants + crossovers > 1:
            raise UserError(
                f"search.mutants and search.crossovers must be at most 1 together, got {mutants} and {crossovers}.",
                "Try search.mutants=0.4 search.crossovers=0.4.",
            )
        if keep < 1:
            raise UserError(f"search.keep must be at least 1, got {keep}.", "Try search.keep=10.")
        self._space, self._population, self._start = space, population, tuple(start)
        self._matrices: Matrices = GeneMatrices() if matrices is None else matrices
        self._keep, self._mutants, self._crossovers, self._row_prob = keep, mutants, crossovers, row_prob
        self._compete = sorted(by_index(dict.fromkeys(compete, True), objectives))
        self._said: dict[Genotype, Groups] = {}
        self._rng = generator(seed, "search.matrices")
        # refuses another space now, and not behind the training of a supernet
        self._matrices.draw(space, generator(seed, "search.matrices.check"))

    def ask(self) -> list[Genotype]:
        """Next generation; empty when finished."""
        history, found = self._history, dict[Genotype, Groups]()
        # whole, so that questions do not depend on the budget, which cuts the last generation
        wanted = self._population if history.remaining else 0
        if not history.seen:
            # they have no matrices
            found = {point: {} for point in dict.fromkeys(self._start[:wanted])}
        elif parents := self.parents():
            mutants, crossovers = (round(wanted * share) for share in (self._mutants, self._crossovers))
            self._add(found, min(wanted, mutants), _CHILD_TRIES, lambda: self._mutant(parents))
            if len(parents) > 1:
                crossed = min(wanted, mutants + crossovers)
                self._add(found, crossed, _CHILD_TRIES, lambda: self._crossover(parents))
        self._add(found, wanted, _RANDOM_TRIES, lambda: self._matrices.draw(self._space, self._rng))
        self._said |= {point: groups for point, groups in found.items() if groups}
        missing = wanted - len(found)
        others = (
            sample_unseen(self._space, self._rng, history.seen | found.keys(), missing) if missing else []
        )
        return history.ask([*found, *others])

    def tell(self, observations: Sequence[Observation]) -> None:
        """Record the observations; failed points have no children."""
        self._history.tell(observations)

    def parents(self) -> list[Groups]:
        """The matrices of the best points that have any, best first."""
        points = [point for point in self._history.points() if point in self._said]
        if not points:
            return []
        values = np.array([self._history.measured[point] for point in points])
        beyond = [at for at in self._compete if at >= values.shape[1]]
        if beyond:
            raise UserError(
                f"search.compete has no objective {beyond[0]} of {values.shape[1]}.", "Indices count from 0."
            )
        order = best_first(values[:, self._compete] if self._compete else values)
        return [self._said[points[at]] for at in order[: self._keep].tolist()]

    def _add(self, found: dict[Genotype, Groups], count: int, tries: int, make: Callable[[], Groups]) -> None:
        """Adds networks that are not recorded until there are `count`, or so many tries for each are used up."""
        for _ in range(tries * max(0, count - len(found))):
            if len(found) >= count:
                return
            groups = make()
            point = self._matrices.decode(self._space, groups)
            if point is not None and point not in self._history.seen and point not in found:
                found[point] = groups

    def _mutant(self, parents: Sequence[Groups]) -> Groups:
        """A parent with new random rows in one group."""
        parent = parents[int(self._rng.integers(len(parents)))]
        drawn = self._matrices.draw(self._space, self._rng)
        group = sorted(parent)[int(self._rng.integers(len(parent)))]
        chosen = self._rng.random(sum(map(len, parent[group]))) < self._row_prob
        chosen[int(self._rng.integers(len(chosen)))] = True
        starts = np.cumsum([0, *map(len, parent[group])])
        changed = [
            np.where(chosen[start : start + len(old), None], new, old)
            for start, old, new in zip(starts, parent[group], drawn[group], strict=False)
        ]
        return {**parent, group: changed}

    def _crossover(self, parents: Sequence[Groups]) -> Groups:
        """Whole groups of one parent, the others of another."""
        first, second = (parents[at] for at in self._rng.permutation(len(parents))[:2])
        names = sorted(first)
        takes = self._rng.random(len(names)) < 0.5
        if len(names) > 1 and takes.all() == takes.any():
            takes[int(self._rng.integers(len(names)))] ^= True
        return {
            name: (second if take else first)[name] for name, take in zip(names, takes.tolist(), strict=True)
        }
