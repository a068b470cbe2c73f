"""Evolution inside windows: points whose costs lie within bounds compete, others only lead there.

ElasticViT's search is the single-objective case (Tang et al., ICCV 2023; microsoft/Moonlit,
ElasticViT): the best half of a pool breeds mutants and crossings within a level of FLOPs.
Feasible points always beat infeasible ones, and those compare by violation: Deb, "An
efficient constraint handling method for genetic algorithms", 2000.
"""

from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.search.analytic_objectives import Cheap, by_position
from evonas.search.base import Told
from evonas.search.evolution.genetic import check_probability
from evonas.search.ledger import Ledger, opening_points
from evonas.search.operators import change_each, cross_points, draw_unseen
from evonas.search.ranking import best_first
from evonas.space.genotype import Genotype
from evonas.space.space import Space

_PATIENCE = 100


class ConstrainedEvolution:
    """Keeps the best points inside all windows and breeds mutants and crossings of them.

    Args:
        space: where to look.
        seed: of everything random.
        population: children per generation.
        evaluations: points in all.
        windows: objective -> [low, high], both allowed; null leaves a side open. Objectives are
            names, or positions from 0.
        compete: the objectives that are minimised inside the windows; none for all without a window.
        objectives: names of the objectives in order; the search stage fills them in.
        cheap: objective -> a closed form in the objective's own unit; points outside a window by
            it are thrown away before they are measured.
        initial: points of the first batch; None for `population`.
        keep: parents; None for `population`.
        mutants: share of children that are mutants; the others are crossings of two parents.
        mutation_prob: chance of each position of a mutant to be drawn anew.
        corners: whether the smallest and the largest point are asked first.
        start: points asked before all others.

    Raises:
        UserError: for an empty budget, no window, an impossible window or an unknown name.
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
        cheap: Mapping[str | int, Cheap] | None = None,
        initial: int | None = None,
        keep: int | None = None,
        mutants: float = 0.5,
        mutation_prob: float = 0.2,
        corners: bool = False,
        start: Sequence[Genotype] = (),
    ) -> None:
        self._ledger = Ledger(space, population, evaluations)
        check_probability("mutants", mutants)
        check_probability("mutation_prob", mutation_prob)
        self._windows = {at: _bounds(each) for at, each in by_position(windows, objectives).items()}
        self._compete = sorted(by_position(dict.fromkeys(compete, True), objectives))
        self._cheap = by_position(cheap or {}, objectives)
        self._space, self._population = space, population
        self._initial = population if initial is None else initial
        self._keep = population if keep is None else keep
        if min(self._initial, self._keep) < 1:
            raise UserError(
                f"initial is {self._initial} and keep {self._keep}.",
                "Set search.initial and search.keep to 1 or more.",
            )
        self._mutants, self._mutation_prob = mutants, mutation_prob
        self._start = opening_points(space, start, corners)
        self._rng = generator(seed, "search.constrained")

    def ask(self) -> list[Genotype]:
        """The first batch, then generations; empty when the budget or the space is used up."""
        ledger = self._ledger
        if not ledger.seen:
            return ledger.ask([*self._start, *self._drawn(self._initial)][: self._initial])
        parents = [fact.genotype for fact in self.survivors()]
        if not parents:
            return ledger.ask_random(self._population, self._rng)
        return ledger.ask(self._children(parents)) or ledger.ask_random(self._population, self._rng)

    def tell(self, facts: Sequence[Told]) -> None:
        """Let the measured points compete; failed ones do not take part."""
        self._ledger.tell(facts)

    def survivors(self) -> list[Told]:
        """The current parents, best first; those outside a window stand last, by their violation."""
        values = self._ledger.values()
        if not len(values):
            return []
        violations = self.violations(values)
        inside = np.flatnonzero(violations == 0)
        ranked = inside[best_first(values[inside][:, self._competing(values.shape[1])])]
        outside = np.flatnonzero(violations > 0)
        order = [*ranked, *outside[np.argsort(violations[outside], kind="stable")]][: self._keep]
        points = self._ledger.points()
        return [Told(points[at], tuple(values[at].tolist())) for at in order]

    def violations(self, values: np.ndarray) -> np.ndarray:
        """(N,) how far (N, M) values lie outside the windows, each relative to its bound; 0 is inside."""
        total = np.zeros(len(values))
        for at, (low, high) in self._windows.items():
            if at >= values.shape[1]:
                raise UserError(
                    f"search.windows names objective {at} of {values.shape[1]}.", "Positions count from 0."
                )
            total += _excess(low - values[:, at], low) + _excess(values[:, at] - high, high)
        return total

    def _competing(self, width: int) -> list[int]:
        beyond = [at for at in self._compete if at >= width]
        if beyond:
            raise UserError(
                f"search.compete names objective {beyond[0]} of {width}.", "Positions count from 0."
            )
        free = [at for at in range(width) if at not in self._windows]
        return self._compete or free or list(range(width))

    def _is_promising(self, point: Genotype) -> bool:
        """Whether no closed form already says that the point lies outside a window."""
        for at, form in self._cheap.items():
            low, high = self._windows.get(at, (-np.inf, np.inf))
            if not low <= form(self._space, point) <= high:
                return False
        return True

    def _drawn(self, count: int) -> list[Genotype]:
        """Random points, promising ones as long as patience lasts."""
        tries = count * _PATIENCE if self._cheap else 0
        drawn = (self._space.sample(self._rng) for _ in range(tries))
        promising = (point for point in drawn if self._is_promising(point))
        chosen = dict.fromkeys(islice(promising, count))
        missing = min(count, self._space.size()) - len(chosen)
        return [*chosen, *draw_unseen(self._space, self._rng, set(chosen), missing)]

    def _children(self, parents: Sequence[Genotype]) -> list[Genotype]:
        """Up to one generation of unasked, promising points."""
        found: dict[Genotype, None] = {}
        for _ in range(_PATIENCE * self._population):
            child = self._child(parents, is_mutant=len(found) < self._mutants * self._population)
            if child not in self._ledger.seen and self._is_promising(child):
                found[child] = None
            if len(found) == self._population:
                break
        return list(found)

    def _child(self, parents: Sequence[Genotype], is_mutant: bool) -> Genotype:
        first, second = (parents[at] for at in self._rng.integers(len(parents), size=2).tolist())
        if is_mutant:
            return change_each(self._space, first, self._mutation_prob, self._rng)
        return cross_points(self._space, first, second, 0.5, self._rng)


def _bounds(window: Sequence[float | None]) -> tuple[float, float]:
    if isinstance(window, str) or len(window) != 2:
        raise UserError(
            f"The window {window!r} is not two numbers.", "Write [low, high], null for an open side."
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
