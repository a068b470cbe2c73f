"""Surrogate-assisted search.

Each iteration fits surrogates to the observations, runs a proposer (any searcher) on their predictions,
selects a few of the proposed points and evaluates those. NSGANetV2 (Lu et al., ECCV 2020), LINAS (Cummings et
al., arXiv 2205.10358) and the default composition are settings of this loop.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from evonas.errors import UserError
from evonas.randomness import derive, generator
from evonas.search.analytic_objectives import AnalyticObjective, by_index
from evonas.search.base import ChecksObjectives, Observation, Searcher
from evonas.search.evolution.nsga2 import NSGA2
from evonas.search.history import History, initial_points
from evonas.search.model_based.acquisition.ehvi import Acquisition
from evonas.search.model_based.acquisition.roulette import PointSelection
from evonas.search.model_based.acquisition.subset import SubsetSelection
from evonas.search.model_based.predictor import Predictor
from evonas.search.model_based.reliability import SurrogateMonitor
from evonas.search.ranking import best_first
from evonas.search.surrogates.base import Surrogate
from evonas.space.genotype import Genotype
from evonas.space.space import Space

_MIN_OBSERVATIONS = 4
_MAX_PARENTS = 40


class Proposer(Protocol):
    """Factory of a searcher with given start points; in YAML a searcher with `_partial_: true`."""

    def __call__(self, *, space: Space, seed: int, start: Sequence[Genotype]) -> Searcher: ...


class SurrogateSearch:
    """Evaluates the points that surrogates predict to improve the Pareto front.

    `monitor.history` holds the out-of-sample accuracy of the surrogates. If Kendall's tau falls below
    `min_rank_correlation`, the next batch is one generation of NSGA-II from the observations, without a surrogate; the
    surrogates keep predicting and are used again once their tau recovers.

    Args:
        space: search space.
        seed: random seed.
        population: points per batch after the first.
        evaluations: evaluation budget, in points.
        surrogate: models each objective that has no analytic form.
        proposer: searches on the predictions.
        acquisition: selects points from those that the proposer visited.
        initial: points of the first batch: the smallest and the largest architecture and random points.
        analytic_objectives: objective -> analytic objective; objectives are names, or indices from 0.
        objectives: names of the objectives in order; the search stage sets them.
        min_rank_correlation: Kendall's tau below which the surrogates are not used.
        rank_correlation_window: number of predictions that tau is computed over.
        exhaustive_up_to: spaces of up to this many points are predicted completely, without the proposer.
        start: points to ask for before all others.

    Raises:
        UserError: the budget or `initial` is below 1, an objective is unknown or `min_rank_correlation` is out
            of range.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        population: int,
        evaluations: int,
        surrogate: Surrogate,
        proposer: Proposer,
        acquisition: SubsetSelection | Acquisition | PointSelection,
        initial: int = 100,
        analytic_objectives: Mapping[str | int, AnalyticObjective] | None = None,
        objectives: Sequence[str] = (),
        min_rank_correlation: float = 0.2,
        rank_correlation_window: int = 32,
        exhaustive_up_to: int = 0,
        start: Sequence[Genotype] = (),
    ) -> None:
        self._history = History(space, population, evaluations)
        if initial < 1:
            raise UserError(f"search.initial must be at least 1, got {initial}.", "Try: search.initial=100")
        self._space, self._seed, self._population = space, seed, population
        self._surrogate, self._proposer, self._acquisition = surrogate, proposer, acquisition
        self._initial, self._start = initial, initial_points(space, start, corners=True)
        self._analytic = by_index(analytic_objectives or {}, objectives)
        self._all = list(space.points()) if space.size() <= exhaustive_up_to else []
        self._rng = generator(seed, "search.guided")
        self._batch = 0
        self._predicted: dict[Genotype, np.ndarray] = {}
        self.monitor = SurrogateMonitor(min_rank_correlation, rank_correlation_window)

    def check_objectives(self, names: Sequence[str]) -> None:
        """Raise a UserError if the acquisition would pass over some of the objectives."""
        if isinstance(self._acquisition, ChecksObjectives):
            self._acquisition.check_objectives(names)

    def ask(self) -> list[Genotype]:
        """The initial batch, later the selected points; empty when finished."""
        history = self._history
        self._batch += 1
        self._predicted = {}
        if not history.seen:
            return history.ask_initial(self._start, self._initial, self._rng)
        if len(history.measured) < _MIN_OBSERVATIONS or not history.remaining:
            return history.ask_random(self._population, self._rng)
        predictor = Predictor(
            history, self._surrogate, self._analytic, derive(self._seed, "search.model", self._batch)
        )
        asked = history.ask_initial(
            self._breed() if self.monitor.is_alarmed else self._select(predictor), self._population, self._rng
        )
        self._predicted = dict(zip(asked, predictor.predict(asked), strict=True)) if asked else {}
        return asked

    def tell(self, observations: Sequence[Observation]) -> None:
        """Record the observations and compare the successful ones with their predictions."""
        known = len(self._history.measured)
        counted = [each for each in self._history.tell(observations) if each.genotype in self._predicted]
        if counted:
            predicted = np.array([self._predicted[observation.genotype] for observation in counted])
            found = np.array([observation.objectives for observation in counted], dtype=float)
            self.monitor.update(predicted, found, known)

    def _select(self, predictor: Predictor) -> list[Genotype]:
        """Unseen points selected from the whole space or from those that the proposer visited."""
        offered = self._all or list(self._propose(predictor))
        fresh = [point for point in offered if point not in self._history.seen]
        if not fresh:
            return []
        acquisition, rng = self._acquisition, self._rng
        if isinstance(acquisition, PointSelection):
            chosen = acquisition.select_points(
                self._space, fresh, predictor.predict(fresh), self._population, rng
            )
        elif isinstance(acquisition, Acquisition):
            observed = self._history.values()
            chosen = acquisition.acquire(
                predictor.posterior(fresh), len(fresh), observed, self._population, rng
            )
        else:
            front = np.array([self._history.measured[point] for point in self._history.front()])
            chosen = acquisition.select(predictor.predict(fresh), front, self._population, rng)
        return [fresh[at] for at in chosen]

    def _propose(self, predictor: Predictor) -> dict[Genotype, np.ndarray]:
        """Points that the proposer visited, with their predicted objectives."""
        seed = derive(self._seed, "search.proposer", self._batch)
        proposer = self._proposer(space=self._space, seed=seed, start=self._best())
        visited: dict[Genotype, np.ndarray] = {}
        while asked := proposer.ask():
            values = predictor(asked)
            proposer.tell(
                [Observation(point, tuple(row.tolist())) for point, row in zip(asked, values, strict=True)]
            )
            visited.update(zip(asked, values, strict=True))
        return visited

    def _breed(self) -> list[Genotype]:
        """Unseen children of the best observed points: one generation of NSGA-II without a surrogate."""
        parents = self._best()[:_MAX_PARENTS]
        size, seed = max(2, len(parents)), derive(self._seed, "search.fallback", self._batch)
        nsga2 = NSGA2(self._space, seed, size, 2 * size, corners=False, start=parents)
        nsga2.tell([Observation(point, self._history.measured.get(point)) for point in nsga2.ask()])
        return [point for point in nsga2.ask() if point not in self._history.seen][: self._population]

    def _best(self) -> list[Genotype]:
        """All evaluated points, sorted by front and crowding distance."""
        points = self._history.points()
        return [points[at] for at in best_first(self._history.values())]
