"""Constrained evolution: minimises some objectives within bounds on others.

ElasticViT's search is the single-objective case (Tang et al., ICCV 2023; microsoft/Moonlit, ElasticViT): the
best half of a pool breeds mutants and crossovers within a range of FLOPs. Feasible points dominate infeasible
ones, which are ordered by constraint violation (Deb, "An efficient constraint handling method for genetic
algorithms", 2000).
"""

from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.search.analytic_objectives import AnalyticObjective, by_index
from evonas.search.base import Observation
from evonas.search.evolution.genetic import check_probability
from evonas.search.history import History, initial_points
from evonas.search.operators import crossover, mutate_each, sample_unseen
from evonas.search.ranking import best_first
from evonas.space.genotype import Genotype
from evonas.space.space import Space

_MAX_TRIES = 100


class ConstrainedEvolution:
    """Breeds mutants and crossovers of the best feasible points.

    Args:
        space: search space.
        seed: random seed.
        population: number of children per generation.
        evaluations: evaluation budget, in points.
        windows: objective -> [low, high], inclusive bounds; null leaves a side open. Objectives are
            names, or indices from 0.
        compete: objectives to minimise; by default all without a window.
        objectives: names of the objectives in order; the search stage sets them.
        analytic_objectives: objective -> analytic objective in the same unit; points that violate a window by it are
            rejected without evaluation.
        initial: points of the first batch; None for `population`.
        keep: number of parents; None for `population`.
        mutants: fraction of children made by mutation; the others are made by crossover of two parents.
        mutation_prob: probability of resampling each position of a mutant.
        corners: architectures to ask for first, see `initial_points`.
        start: points to ask for before all others.

    Raises:
        UserError: the budget is below 1, a window is invalid or an objective is unknown.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int,
        evaluations: int,
        windows: Mapping[str | int, Sequence[float | None]],
        compete: Sequence[str | int] = (),
        objectives: Sequence[str] = (),
        analytic_objectives: Mapping[str | int, AnalyticObjective] | None = None,
        initial: int | None = None,
        keep: int | None = None,
        mutants: float = 0.5,
        mutation_prob: float = 0.2,
        corners: bool | str = False,
        start: Sequence[Genotype] = (),
    ) -> None:
        self._history = History(space, population, evaluations)
        check_probability("mutants", mutants)
        check_probability("mutation_prob", mutation_prob)
        self._windows = {at: _bounds(each) for at, each in by_index(windows, objectives).items()}
        self._compete = sorted(by_index(dict.fromkeys(compete, True), objectives))
        self._analytic = by_index(analytic_objectives or {}, objectives)
        self._space, self._population = space, population
        self._initial = population if initial is None else initial
        self._keep = population if keep is None else keep
        if min(self._initial, self._keep) < 1:
            raise UserError(
                f"search.initial and search.keep must be at least 1, got {self._initial} and {self._keep}.",
                "Set search.initial and search.keep to 1 or more.",
            )
        self._mutants, self._mutation_prob = mutants, mutation_prob
        self._start = initial_points(space, start, corners)
        self._rng = generator(seed, "search.constrained")

    def ask(self) -> list[Genotype]:
        """Next generation; empty when finished."""
        history = self._history
        if not history.seen:
            return history.ask([*self._start, *self._sample(self._initial)][: self._initial])
        parents = [observation.genotype for observation in self.survivors()]
        if not parents:
            return history.ask_random(self._population, self._rng)
        return history.ask(self._children(parents)) or history.ask_random(self._population, self._rng)

    def tell(self, observations: Sequence[Observation]) -> None:
        """Record the observations; failed points are ignored."""
        self._history.tell(observations)

    def survivors(self) -> list[Observation]:
        """Current parents, best first: feasible points by front and crowding, then others by violation."""
        values = self._history.values()
        if not len(values):
            return []
        violations = self.violations(values)
        inside = np.flatnonzero(violations == 0)
        ranked = inside[best_first(values[inside][:, self._competing(values.shape[1])])]
        outside = np.flatnonzero(violations > 0)
        order = [*ranked, *outside[np.argsort(violations[outside], kind="stable")]][: self._keep]
        points = self._history.points()
        return [Observation(points[at], tuple(values[at].tolist())) for at in order]

    def violations(self, values: np.ndarray) -> np.ndarray:
        """(N,) constraint violations of (N, M) values: the sum of relative excesses; 0 is feasible."""
        total = np.zeros(len(values))
        for at, (low, high) in self._windows.items():
            if at >= values.shape[1]:
                raise UserError(
                    f"search.windows has no objective {at} of {values.shape[1]}.", "Indices count from 0."
                )
            total += _excess(low - values[:, at], low) + _excess(values[:, at] - high, high)
        return total

    def _competing(self, width: int) -> list[int]:
        beyond = [at for at in self._compete if at >= width]
        if beyond:
            raise UserError(
                f"search.compete has no objective {beyond[0]} of {width}.", "Indices count from 0."
            )
        free = [at for at in range(width) if at not in self._windows]
        return self._compete or free or list(range(width))

    def _may_be_feasible(self, point: Genotype) -> bool:
        """Whether no analytic objective rules the point out."""
        for at, form in self._analytic.items():
            low, high = self._windows.get(at, (-np.inf, np.inf))
            if not low <= form(self._space, point) <= high:
                return False
        return True

    def _sample(self, count: int) -> list[Genotype]:
        """Distinct random points; possibly feasible ones first, if any are found."""
        tries = count * _MAX_TRIES if self._analytic else 0
        drawn = (self._space.sample(self._rng) for _ in range(tries))
        promising = (point for point in drawn if self._may_be_feasible(point))
        chosen = dict.fromkeys(islice(promising, count))
        missing = min(count, self._space.size()) - len(chosen)
        return [*chosen, *sample_unseen(self._space, self._rng, set(chosen), missing)]

    def _children(self, parents: Sequence[Genotype]) -> list[Genotype]:
        """Up to one generation of unseen, possibly feasible points."""
        found: dict[Genotype, None] = {}
        for _ in range(_MAX_TRIES * self._population):
            first, second = (parents[at] for at in self._rng.integers(len(parents), size=2).tolist())
            if len(found) < self._mutants * self._population:
                child = mutate_each(self._space, first, self._mutation_prob, self._rng)
            else:
                child = crossover(self._space, first, second, 0.5, self._rng)
            if child not in self._history.seen and self._may_be_feasible(child):
                found[child] = None
            if len(found) == self._population:
                break
        return list(found)


def _bounds(window: Sequence[float | None]) -> tuple[float, float]:
    if isinstance(window, str) or len(window) != 2:
        raise UserError(
            f"A window must be [low, high], got {window!r}.", "Write [low, high]; null leaves a side open."
        )
    low = -np.inf if window[0] is None else float(window[0])
    high = np.inf if window[1] is None else float(window[1])
    if not low <= high:
        raise UserError(f"The window [{window[0]}, {window[1]}] is empty.", "Write [low, high].")
    return low, high


def _excess(beyond: np.ndarray, bound: float) -> np.ndarray:
    if not np.isfinite(bound):
        return np.zeros(len(beyond))
    excess: np.ndarray = np.maximum(beyond, 0.0) / max(abs(bound), 1e-12)
    return excess
