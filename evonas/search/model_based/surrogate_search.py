"""Search through a model: any searcher proposes on predictions, a choice picks, only the picked are measured.

NSGANetV2 (Lu et al., ECCV 2020), LINAS (Cummings et al., arXiv 2205.10358) and our own
composition are three settings of this one loop: learn all objectives from the facts, let a
proposer search the model, choose a few of what it found, measure them, and learn again.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from evonas.errors import UserError
from evonas.randomness import derive, generator
from evonas.search.analytic_objectives import Cheap, by_position
from evonas.search.base import Searcher, Told
from evonas.search.evolution.nsga2 import NSGA2
from evonas.search.ledger import Ledger, opening_points
from evonas.search.model_based.acquisition.ehvi import Weighing
from evonas.search.model_based.acquisition.subset import Choice
from evonas.search.model_based.predictor import Oracle
from evonas.search.model_based.reliability import Trust
from evonas.search.ranking import best_first
from evonas.search.surrogates.base import Surrogate
from evonas.space.genotype import Genotype
from evonas.space.space import Space

_LEAST = 4
_FALLBACK = 40


class Proposer(Protocol):
    """Makes a fresh searcher that begins at given points; in YAML a searcher with `_partial_: true`."""

    def __call__(self, *, space: Space, seed: int, start: Sequence[Genotype]) -> Searcher: ...


class GuidedSearch:
    """Spends measurements only where a model of the facts expects the front, as long as the model ranks well.

    `trust.history` holds how well it ranked, on points predicted before they were measured. When that
    falls below `alarm`, the next batch is what plain NSGA-II would breed from the facts; the models go
    on predicting, and are followed again once they rank well.

    Args:
        space: where to look.
        seed: of everything random.
        population: points per batch after the first.
        evaluations: points in all.
        surrogate: learns every objective that has no closed form.
        proposer: searches the model.
        choice: picks from what the proposer found.
        initial: points of the first batch: the ends of the space and random ones.
        cheap: objective -> closed form; objectives are names, or positions from 0.
        objectives: names of the objectives in order; the search stage fills them in.
        alarm: Kendall's tau below which a model is not followed.
        memory: predictions that the tau is computed over.
        whole: spaces of up to so many points are looked at whole, without the proposer.
        start: points asked before all others.

    Raises:
        UserError: for an empty budget, an unknown objective or an impossible alarm.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int,
        evaluations: int,
        surrogate: Surrogate,
        proposer: Proposer,
        choice: Choice | Weighing,
        initial: int = 100,
        cheap: Mapping[str | int, Cheap] | None = None,
        objectives: Sequence[str] = (),
        alarm: float = 0.2,
        memory: int = 32,
        whole: int = 0,
        start: Sequence[Genotype] = (),
    ) -> None:
        self._ledger = Ledger(space, population, evaluations)
        if initial < 1:
            raise UserError(f"initial is {initial}.", "Set search.initial to 1 or more.")
        self._space, self._seed, self._population = space, seed, population
        self._surrogate, self._proposer, self._choice = surrogate, proposer, choice
        self._initial, self._start = initial, opening_points(space, start, corners=True)
        self._cheap = by_position(cheap or {}, objectives)
        self._all = list(space.points()) if space.size() <= whole else []
        self._rng = generator(seed, "search.guided")
        self._batch = 0
        self._predicted: dict[Genotype, np.ndarray] = {}
        self.trust = Trust(alarm, memory)

    def ask(self) -> list[Genotype]:
        """The first batch, then the most promising points; empty when the budget or the space is used up."""
        ledger = self._ledger
        self._batch += 1
        self._predicted = {}
        if not ledger.seen:
            return ledger.ask_opening(self._start, self._initial, self._rng)
        if len(ledger.measured) < _LEAST or not ledger.left:
            return ledger.ask_random(self._population, self._rng)
        oracle = Oracle(ledger, self._surrogate, self._cheap, derive(self._seed, "search.model", self._batch))
        asked = ledger.ask_opening(
            self._bred() if self.trust.is_alarmed else self._picked(oracle), self._population, self._rng
        )
        self._predicted = dict(zip(asked, oracle.predict(asked), strict=True)) if asked else {}
        return asked

    def tell(self, facts: Sequence[Told]) -> None:
        """Hold the facts against what was predicted of them, then learn from them; failures are left out."""
        known = len(self._ledger.measured)
        counted = [fact for fact in self._ledger.tell(facts) if fact.genotype in self._predicted]
        if counted:
            predicted = np.array([self._predicted[fact.genotype] for fact in counted])
            found = np.array([fact.objectives for fact in counted], dtype=float)
            self.trust.witness(predicted, found, known)

    def _picked(self, oracle: Oracle) -> list[Genotype]:
        """What the choice takes of the unseen points, or of those that the proposer visited."""
        offered = self._all or list(self._imagined(oracle))
        fresh = [point for point in offered if point not in self._ledger.seen]
        if not fresh:
            return []
        choice, rng = self._choice, self._rng
        if isinstance(choice, Weighing):
            facts = self._ledger.values()
            chosen = choice.weigh(oracle.about(fresh), len(fresh), facts, self._population, rng)
        else:
            front = np.array([self._ledger.measured[point] for point in self._ledger.front()])
            chosen = choice.choose(oracle.predict(fresh), front, self._population, rng)
        return [fresh[at] for at in chosen]

    def _imagined(self, oracle: Oracle) -> dict[Genotype, np.ndarray]:
        """Every point that the proposer asked, with the answer it got."""
        seed = derive(self._seed, "search.proposer", self._batch)
        inner = self._proposer(space=self._space, seed=seed, start=self._best())
        imagined: dict[Genotype, np.ndarray] = {}
        while asked := inner.ask():
            values = oracle(asked)
            inner.tell([Told(point, tuple(row.tolist())) for point, row in zip(asked, values, strict=True)])
            imagined.update(zip(asked, values, strict=True))
        return imagined

    def _bred(self) -> list[Genotype]:
        """Unseen children of the best facts: one generation of NSGA-II, without any model."""
        parents = self._best()[:_FALLBACK]
        size, seed = max(2, len(parents)), derive(self._seed, "search.fallback", self._batch)
        plain = NSGA2(self._space, seed, size, 2 * size, corners=False, start=parents)
        plain.tell([Told(point, self._ledger.measured.get(point)) for point in plain.ask()])
        return [point for point in plain.ask() if point not in self._ledger.seen][: self._population]

    def _best(self) -> list[Genotype]:
        """Every measured point, by front and crowding."""
        points = self._ledger.points()
        return [points[at] for at in best_first(self._ledger.values())]
