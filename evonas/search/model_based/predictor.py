"""Predicts all objectives of points from a search history, by surrogates and analytic objectives.

N points, P of them, M objectives.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from evonas.randomness import derive
from evonas.search.analytic_objectives import AnalyticObjective
from evonas.search.history import History
from evonas.search.model_based.acquisition.ehvi import CandidatePosterior
from evonas.search.surrogates.base import (
    FittedSurrogate,
    Posterior,
    Predict,
    ProbabilisticSurrogate,
    Surrogate,
)
from evonas.search.surrogates.graph_encoding import encodings_of
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class Predictor:
    """Models of all objectives, fitted once to a history.

    A prediction that is not finite is the worst observed value, so that it recommends no point.

    Args:
        history: has at least two evaluated points.
        surrogate: models each objective that has no analytic form.
        cheap: objective index -> analytic objective, aligned to the observations by an affine fit.
        seed: random seed of the fits.
    """

    def __init__(
        self, history: History, surrogate: Surrogate, cheap: Mapping[int, AnalyticObjective], seed: int
    ) -> None:
        self._observed = dict(history.measured)
        self._encodings = encodings_of(history.space)
        points, values = history.points(), history.values()
        self._worst = values.max(axis=0)
        views = [encode(points) for encode in self._encodings]
        self._models: list[_AffineFit | FittedSurrogate] = []
        for at in range(values.shape[1]):
            column, model_seed = values[:, at], derive(seed, "surrogate", at)
            if at in cheap:
                self._models.append(_AffineFit(cheap[at], history.space, points, column))
            elif isinstance(surrogate, ProbabilisticSurrogate):
                self._models.append(surrogate.fit_views(views, column, model_seed))
            else:
                self._models.append(_PointPrediction(surrogate.fit(views[0], column, model_seed)))

    def __call__(self, points: Sequence[Genotype]) -> np.ndarray:
        """(N, M) values: observations where they exist, predictions elsewhere."""
        values = self.predict(points)
        for row, point in enumerate(points):
            if point in self._observed:
                values[row] = self._observed[point]
        return values

    def predict(self, points: Sequence[Genotype]) -> np.ndarray:
        """(N, M) predictions, also where observations exist."""
        everywhere = self.posterior(points)(np.arange(len(points)), joint=False)
        return np.stack([each.median() for each in everywhere], axis=1)

    def posterior(self, points: Sequence[Genotype]) -> CandidatePosterior:
        """Posterior distribution over the points.

        Analytic objectives and surrogates without an uncertainty estimate have variance 0.
        """
        views = [encode(points) for encode in self._encodings]
        exact = {at: form(points) for at, form in enumerate(self._models) if isinstance(form, _AffineFit)}

        def posterior(rows: np.ndarray, joint: bool) -> list[Posterior]:
            seen = [view[rows] for view in views]
            return [
                Posterior(exact[at][rows], np.zeros(len(rows)))
                if isinstance(model, _AffineFit)
                else _finite(model.posterior(seen, joint), self._worst[at])
                for at, model in enumerate(self._models)
            ]

        return posterior


def _finite(found: Posterior, worst: float) -> Posterior:
    """A posterior with finite medians; one that lacks some is known no better than by its medians."""
    median = found.median()
    known = np.isfinite(median)
    return found if known.all() else Posterior(np.where(known, median, worst), np.zeros(len(median)))


class _PointPrediction:
    """A fitted surrogate without an uncertainty estimate."""

    def __init__(self, predict: Predict) -> None:
        self._predict = predict

    def posterior(self, views: Sequence[np.ndarray], joint: bool = False) -> Posterior:
        del joint
        return Posterior(self._predict(views[0]), np.zeros(len(views[0])))


class _AffineFit:
    """An analytic objective with the slope and the intercept of a least-squares fit to the observations."""

    def __init__(
        self, form: AnalyticObjective, space: Space, points: Sequence[Genotype], values: np.ndarray
    ) -> None:
        self._form, self._space = form, space
        raw = self._raw(points)
        known = np.isfinite(raw)
        self._slope, self._intercept, self._worst = 0.0, float(values.mean()), float(values.max())
        if known.any() and np.ptp(raw[known]) > 0:
            slope, intercept = np.polyfit(raw[known], values[known], 1)
            self._slope, self._intercept = float(slope), float(intercept)

    def __call__(self, points: Sequence[Genotype]) -> np.ndarray:
        raw = self._raw(points)
        known = np.isfinite(raw)
        return np.where(known, np.where(known, raw, 0.0) * self._slope + self._intercept, self._worst)

    def _raw(self, points: Sequence[Genotype]) -> np.ndarray:
        return np.array([self._form(self._space, point) for point in points], dtype=float)
