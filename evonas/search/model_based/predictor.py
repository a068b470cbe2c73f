"""Predicts all objectives of points from a search history, by surrogates and analytic objectives.

N points, S deviations, M objectives.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from evonas.randomness import derive
from evonas.search.analytic_objectives import AnalyticObjective
from evonas.search.history import History
from evonas.search.surrogates.base import Predict, Surrogate
from evonas.search.surrogates.gp_posterior import GaussianProcess, ObjectivePosterior
from evonas.search.surrogates.graph_encoding import encodings_of
from evonas.search.surrogates.joint_posterior import (
    BatchPosterior,
    IndependentPosterior,
    LinearPosterior,
    LogScalePosterior,
    MultiViewGaussianProcess,
)
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class Predictor:
    """Models of all objectives, fitted once to a history.

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
        views = [encode(points) for encode in self._encodings]
        self._models: list[_Model] = []
        for at in range(values.shape[1]):
            column, model_seed = values[:, at], derive(seed, "surrogate", at)
            if at in cheap:
                self._models.append(_AffineFit(cheap[at], history.space, points, column))
            elif isinstance(surrogate, GaussianProcess):
                self._models.append(surrogate.posterior(views, column, model_seed))
            elif isinstance(surrogate, MultiViewGaussianProcess):
                self._models.append(surrogate.posterior(views, column))
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
        means = self.posterior(points)(np.arange(len(points)), np.zeros((1, len(self._models))))
        return np.asarray(means[:, 0])

    def posterior(self, points: Sequence[Genotype]) -> "PredictiveDistribution":
        """Posterior distribution over the points.

        Analytic objectives and surrogates without an uncertainty estimate have variance 0.
        """
        views = [encode(points) for encode in self._encodings]
        exact = {at: form(points) for at, form in enumerate(self._models) if isinstance(form, _AffineFit)}
        return PredictiveDistribution(self._models, views, exact)


class PredictiveDistribution:
    """Posterior distribution of all objectives over N points; a `CandidatePosterior`.

    Args:
        models: model of each objective.
        views: features of the points, per view.
        exact: index of an analytic objective -> (N,) its values.
    """

    def __init__(
        self, models: "Sequence[_Model]", views: Sequence[np.ndarray], exact: Mapping[int, np.ndarray]
    ) -> None:
        self._models, self._views, self._exact = models, views, exact

    def __call__(self, rows: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        """(P, S, M) marginal values of P of the points at (S, M) standard deviations from the mean."""
        found = np.empty((len(rows), *deviations.shape))
        for at in range(len(self._models)):
            found[..., at] = self._marginal(at, rows, deviations[:, at])
        return found

    def joint(self, rows: np.ndarray) -> list[BatchPosterior]:
        """Joint posterior of each objective over some of the points."""
        return [self._joint(at, rows) for at in range(len(self._models))]

    def _joint(self, at: int, rows: np.ndarray) -> BatchPosterior:
        model = self._models[at]
        if isinstance(model, LogScalePosterior | LinearPosterior):
            return model.joint([view[rows] for view in self._views])
        return IndependentPosterior(lambda deviations: self._marginal(at, rows, deviations))

    def _marginal(self, at: int, rows: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        model = self._models[at]
        if isinstance(model, ObjectivePosterior):
            return model.values_at(self._views[model.view][rows], deviations)
        if isinstance(model, LogScalePosterior | LinearPosterior):
            return model.values_at([view[rows] for view in self._views], deviations)
        values = model(self._views[0][rows]) if isinstance(model, _PointPrediction) else self._exact[at][rows]
        return np.repeat(values[:, None], len(deviations), axis=1)


class _PointPrediction:
    """A fitted surrogate without an uncertainty estimate."""

    def __init__(self, predict: Predict) -> None:
        self._predict = predict

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return self._predict(rows)


class _AffineFit:
    """An analytic objective with the slope and the intercept of a least-squares fit to the observations."""

    def __init__(
        self, form: AnalyticObjective, space: Space, points: Sequence[Genotype], values: np.ndarray
    ) -> None:
        self._form, self._space = form, space
        raw = self._raw(points)
        self._slope, self._intercept = 0.0, float(values.mean())
        if np.ptp(raw) > 0:
            slope, intercept = np.polyfit(raw, values, 1)
            self._slope, self._intercept = float(slope), float(intercept)

    def __call__(self, points: Sequence[Genotype]) -> np.ndarray:
        return self._raw(points) * self._slope + self._intercept

    def _raw(self, points: Sequence[Genotype]) -> np.ndarray:
        return np.array([self._form(self._space, point) for point in points], dtype=float)


_Model = _AffineFit | _PointPrediction | ObjectivePosterior | LogScalePosterior | LinearPosterior
