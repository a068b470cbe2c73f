"""A nested order of subnets: from the largest network down, always the reduction with the least error per saved cost.

The sensitivity of a choice is the error that one reduction adds to a network. Ordering reductions by their
sensitivity per saved cost gives subnets that are nested in one another, and so a front after about as many
evaluations as there are genes. Sensitivities change when the network becomes smaller; therefore they are renewed
at smaller networks.

Sources: one nested order by sensitivity, "SKD" (arXiv 2511.11683); reductions in the order of their loss per
saved latency, NetAdapt (Yang et al., ECCV 2018, arXiv 1804.03230).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from evonas.errors import UserError
from evonas.randomness import generator
from evonas.search.analytic_objectives import AnalyticObjective, by_index
from evonas.search.base import Observation
from evonas.search.history import History
from evonas.search.operators import sample_unseen
from evonas.search.ranking import non_dominated
from evonas.space.genes import Bits
from evonas.space.genotype import Genotype
from evonas.space.space import Space

# the smallest error that counts, and the smallest cost, as a part of the largest
_LEAST_ERROR, _LEAST_COST = 1e-9, 1e-3
# scores that agree in so many digits are equal
_DIGITS = 9


@dataclass(frozen=True)
class _Base:
    """A network and what the single changes of its positions do to it; NaN is unknown.

    Args:
        point: the network.
        layout: its genes; those that are not expressed have their largest choice.
        cost: its cost.
        added: for every position the error that each choice adds.
        saved: for every position the cost that each choice saves.
    """

    point: Genotype
    layout: tuple[int, ...]
    cost: float
    added: Sequence[np.ndarray]
    saved: Sequence[np.ndarray]


class NestedOrder:
    """Asks for single changes of a network, the base, then for as many points of the chain that follows from them.

    The first base is the largest network: the lowest choice of every gene is asked for first, then the one in the
    middle; choices between are interpolated. Each later base is the non-dominated network nearest to the middle of the
    widest gap in log cost between earlier ones; its choices one step down and up are asked for, and all others
    keep the differences found at the nearest base. A chain goes down from its base by least added error per saved
    cost, and up by most removed error per cost. Words have no order, so all of them are asked for.

    The questions do not depend on the budget: half of them are chain points, whenever it ends. When no base
    is left, random points follow.

    Args:
        space: search space.
        seed: random seed of the order of changes within a round, and of the random points.
        population: points per batch.
        evaluations: evaluation budget, in points.
        objectives: names of the objectives in order, the error first; the search stage sets them.
        cost: objective that reductions save, by name or index; None for the first one after the error. With
            the error alone, every step of a gene costs one.
        analytic_objectives: objective -> analytic objective; that of `cost` replaces its measurements.

    Raises:
        UserError: the population or the budget is below 1, or an objective is unknown.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int,
        evaluations: int,
        objectives: Sequence[str] = (),
        cost: str | int | None = None,
        analytic_objectives: Mapping[str | int, AnalyticObjective] | None = None,
    ) -> None:
        self._history = History(space, population, evaluations)
        self._space, self._population = space, population
        self._is_named = cost is not None
        self._cost_at = 1 if cost is None else next(iter(by_index({cost: True}, objectives)))
        self._analytic = by_index(analytic_objectives or {}, objectives).get(self._cost_at)
        self._rng = generator(seed, "search.nested")
        self._is_ordinal = [
            isinstance(gene, Bits) or not isinstance(gene.choices[0], str)
            for gene in space.genes
            for _ in range(gene.width)
        ]
        self._bases: dict[Genotype, _Base] = {}
        self._rounds = self._plan()
        self._queue: deque[Genotype] = deque()
        self._pending = 0

    def ask(self) -> list[Genotype]:
        """The next batch of a round; empty when finished."""
        self._fill()
        batch = [self._queue.popleft() for _ in range(min(self._population, len(self._queue)))]
        return self._history.ask(batch)

    def tell(self, observations: Sequence[Observation]) -> None:
        """Record the observations; failed points have no sensitivity."""
        self._history.tell(observations)

    def ask_one(self) -> Genotype | None:
        """The next point of a round; None when finished, or while the results of the round are awaited."""
        if not self._pending:
            self._fill()
        if not self._queue or not self._history.remaining:
            return None
        self._pending += 1
        return self._history.ask_one([self._queue.popleft()], self._rng)

    def tell_one(self, observation: Observation) -> None:
        """Record the observation; a failed point has no sensitivity."""
        self._pending -= 1
        self._history.tell_one(observation)

    def _fill(self) -> None:
        """Queue the unseen points of the next round, if all earlier ones were asked; they are told by now."""
        while not self._queue and self._history.remaining:
            self._queue.extend(dict.fromkeys(p for p in next(self._rounds) if p not in self._history.seen))

    def _plan(self) -> Iterator[list[Genotype]]:
        """Yields rounds of points without end; a round is planned when all before it were told."""
        largest = self._space.largest()
        yield [largest, self._space.smallest()]
        for is_first in (True, False):
            yield from self._round(largest, is_first)
        while True:
            base = self._next_base()
            if base is None:
                count = min(self._population, self._history.remaining)
                yield sample_unseen(self._space, self._rng, self._history.seen, count)
            else:
                yield from self._round(base)

    def _round(self, point: Genotype, is_first: bool | None = None) -> Iterator[list[Genotype]]:
        """Changes of a base, then as many points of its chain; nothing if the base failed.

        Args:
            point: the base.
            is_first: of the largest network the lowest choices (True), or those in the middle; None for neighbours.
        """
        if point not in self._history.measured:
            return
        layout = self._layout(point)
        changes = [
            changed
            for at, own in enumerate(layout)
            for choice in self._asked(at, own, is_first)
            if (changed := self._changed(layout, at, choice)) not in (None, point, *self._history.seen)
        ]
        # no part of the network is favoured where the budget ends, or by a clock that drifts
        yield [changes[at] for at in self._rng.permutation(len(changes))]
        self._bases[point] = self._measured_base(point, layout)
        yield self._spread(self._chain(self._bases[point]), max(len(changes), self._population))

    def _asked(self, at: int, own: int, is_first: bool | None) -> Iterable[int]:
        """The choices of a position that a round asks for."""
        count = self._space.cardinalities[at]
        if not self._is_ordinal[at]:
            return range(count)
        if is_first is None:
            return [choice for choice in (own - 1, own + 1) if 0 <= choice < count]
        return [0 if is_first else own // 2]

    def _next_base(self) -> Genotype | None:
        """The non-dominated network nearest to the middle of the widest gap between bases; None if none is left."""
        points = self._history.points()
        if not points:
            return None
        logs = self._log([self._cost(point) for point in points])
        errors = [self._history.measured[point][0] for point in points]
        of_bases = [log for log, point in zip(logs, points, strict=True) if point in self._bases]
        ends = sorted([*of_bases, logs.min(), logs.max()])
        low, high = max(pairwise(ends), key=lambda gap: gap[1] - gap[0])
        front = non_dominated(np.column_stack([errors, logs])).tolist()
        left = [at for at in front if points[at] not in self._bases]
        return points[min(left, key=lambda at: abs(logs[at] - (low + high) / 2))] if left else None

    def _measured_base(self, point: Genotype, layout: tuple[int, ...]) -> _Base:
        """A base with what is known of its changes; the rest is that of the nearest base."""
        cost, error = self._cost(point), self._history.measured[point][0]
        others = [base for base in self._bases.values() if base.point != point]
        near = min(others, key=lambda base: abs(np.diff(self._log([base.cost, cost]))[0]), default=None)
        added, saved = [], []
        for at, own in enumerate(layout):
            errors, savings, failed = {own: 0.0}, {own: 0.0}, []
            for choice in range(self._space.cardinalities[at]):
                changed = self._changed(layout, at, choice)
                if changed is None or changed == point:
                    continue
                is_measured = changed in self._history.measured
                if is_measured:
                    errors[choice] = self._history.measured[changed][0] - error
                elif changed in self._history.seen:
                    failed.append(choice)
                if is_measured or self._is_exact:
                    savings[choice] = cost - self._cost(changed)
            added.append(self._curve(at, own, errors, near.added[at] if near else None))
            saved.append(self._curve(at, own, savings, near.saved[at] if near else None))
            added[at][failed] = np.nan
        return _Base(point, layout, cost, added, saved)

    def _curve(self, at: int, own: int, known: Mapping[int, float], before: np.ndarray | None) -> np.ndarray:
        """What every choice of a position adds or saves, from some that are known and the curve of another base."""
        choices, count = sorted(known), self._space.cardinalities[at]
        before = np.full(count, np.nan) if before is None else before
        if not self._is_ordinal[at]:
            return np.array([known.get(choice, before[choice] - before[own]) for choice in range(count)])
        curve = np.interp(np.arange(count), choices, [known[choice] for choice in choices])
        for end, outside in ((choices[0], slice(choices[0])), (choices[-1], slice(choices[-1] + 1, None))):
            curve[outside] = known[end] + before[outside] - before[end]
        return _falling(curve, own)

    def _chain(self, base: _Base) -> list[tuple[Genotype, float]]:
        """The nested subnets through a base, with estimates of their costs."""
        costs = [self._cost(point) for point in self._history.measured]
        chain = [(base.point, base.cost)]
        for is_down, end in ((True, min(costs)), (False, max(costs))):
            steps = self._steps(base, is_down)
            # savings are measured apart and need not add up
            whole = abs(steps[-1][1]) if steps else 0.0
            part = min(1.0, abs(base.cost - end) / whole) if whole else 1.0
            chain += [
                (point, self._cost(point) if self._is_exact else base.cost - part * saved)
                for point, saved in steps
            ]
        return chain

    def _steps(self, base: _Base, is_down: bool) -> list[tuple[Genotype, float]]:
        """Greedy steps from a base, each with the cost that all up to it save."""
        free = _LEAST_ERROR * max((np.nanmax(np.abs(curve)) for curve in base.added), default=0.0) or 1.0
        layout, point, total, found = list(base.layout), base.point, 0.0, []
        while True:
            rated = []
            for at, own in enumerate(layout):
                added = base.added[at] - base.added[at][own]
                saved = base.saved[at] - base.saved[at][own]
                useful = (saved > 0) & ~np.isnan(added) if is_down else (saved < 0) & (added < 0)
                for choice in np.flatnonzero(useful).tolist():
                    error = max(added[choice], free) if is_down else added[choice]
                    score = float(f"{error / abs(saved[choice]):.{_DIGITS}g}")
                    rated.append((score, abs(saved[choice]), at, choice))
            for _, _, at, choice in sorted(rated):
                changed = self._changed(layout, at, choice)
                if changed is not None and changed != point:
                    total += base.saved[at][choice] - base.saved[at][layout[at]]
                    layout[at], point = choice, changed
                    found.append((point, float(total)))
                    break
            else:
                return found

    def _spread(self, chain: Sequence[tuple[Genotype, float]], count: int) -> list[Genotype]:
        """Unseen points of a chain, each as far as possible in log cost from those before it and those seen."""
        logs, chosen = self._log([cost for _, cost in chain]), list[Genotype]()
        is_left = np.array([point not in self._history.seen for point, _ in chain])
        far = np.array([np.abs(logs[~is_left] - log).min(initial=np.inf) for log in logs])
        while is_left.any() and len(chosen) < count:
            at = int(np.argmax(np.where(is_left, far, -1.0)))
            chosen.append(chain[at][0])
            is_left[at], far = False, np.minimum(far, np.abs(logs - logs[at]))
        return chosen

    @property
    def _is_exact(self) -> bool:
        """Whether costs need no measurement."""
        return self._analytic is not None or self._is_alone

    @property
    def _is_alone(self) -> bool:
        """Whether there is only an error, so that every step of a gene costs one."""
        return not self._is_named and all(len(values) == 1 for values in self._history.measured.values())

    def _cost(self, point: Genotype) -> float:
        if self._analytic is not None:
            return float(self._analytic(self._space, point))
        if self._is_alone:
            return 1.0 + sum(point.genes)
        values = self._history.measured[point]
        if self._cost_at >= len(values):
            raise UserError(
                f"search.cost has no objective {self._cost_at} of {len(values)}.", "Indices count from 0."
            )
        return values[self._cost_at]

    def _log(self, costs: Sequence[float]) -> np.ndarray:
        """Logarithms of costs; tiny ones and those below zero are equal."""
        values = np.array(costs)
        least = _LEAST_COST * max(
            max((self._cost(point) for point in self._history.measured), default=1.0), 0.0
        )
        logs: np.ndarray = np.log(np.maximum(values, least or 1.0))
        return logs

    def _layout(self, point: Genotype) -> tuple[int, ...]:
        """The genes of a point; those that are not expressed have their largest choice, should they be expressed."""
        is_expressed = self._space.expressed_rows(np.array([point.genes]))[0]
        return tuple(np.where(is_expressed, point.genes, self._space.upper).tolist())

    def _changed(self, layout: Sequence[int], at: int, choice: int) -> Genotype | None:
        """The network of a layout with another choice at a position; None if it is none."""
        try:
            return self._space.from_vector([*layout[:at], choice, *layout[at + 1 :]])
        except UserError:
            return None


def _falling(curve: np.ndarray, own: int) -> np.ndarray:
    """A curve that is zero at `own`, at least 0 below and at most 0 above, and never rises with the choice."""
    below, above = curve[own::-1], curve[own:]
    made = np.concatenate([np.fmax.accumulate(below)[::-1], np.fmin.accumulate(above)[1:]])
    made[np.isnan(curve)] = np.nan
    return made
