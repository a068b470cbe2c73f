"""Predicts every objective of a point from the recorded facts: by a surrogate, or by a closed form.

N points, S draws, M objectives.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from evonas.randomness import derive
from evonas.search.analytic_objectives import Cheap
from evonas.search.ledger import Ledger
from evonas.search.surrogates.base import Predict, Surrogate
from evonas.search.surrogates.gp_posterior import Belief, Process
from evonas.search.surrogates.graph_encoding import views_of
from evonas.search.surrogates.joint_posterior import Alone, Blended, BlendedProcess, Line, Part
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class Oracle:
    """Fitted once to a ledger; what was measured is answered with the measurement.

    Args:
        ledger: with at least two measured points.
        surrogate: of every objective that has no closed form.
        cheap: position of an objective -> its closed form, aligned to the facts by an affine fit.
        seed: of the fits.
    """

    def __init__(self, ledger: Ledger, surrogate: Surrogate, cheap: Mapping[int, Cheap], seed: int) -> None:
        self._known = dict(ledger.measured)
        self._views = views_of(ledger.space)
        points, values = ledger.points(), ledger.values()
        rows = [view(points) for view in self._views]
        self._models: list[_Aligned | _Single | Belief | Blended | Line] = []
        for at in range(values.shape[1]):
            told, of = values[:, at], derive(seed, "surrogate", at)
            if at in cheap:
                self._models.append(_Aligned(cheap[at], ledger.space, points, told))
            elif isinstance(surrogate, Process):
                self._models.append(surrogate.believe(rows, told, of))
            elif isinstance(surrogate, BlendedProcess):
                self._models.append(surrogate.believe_views(rows, told))
            else:
                self._models.append(_Single(surrogate.fit(rows[0], told, of)))

    def __call__(self, points: Sequence[Genotype]) -> np.ndarray:
        """(N, M) facts where they are recorded, predictions elsewhere."""
        values = self.predict(points)
        for row, point in enumerate(points):
            if point in self._known:
                values[row] = self._known[point]
        return values

    def predict(self, points: Sequence[Genotype]) -> np.ndarray:
        """(N, M) predictions, whatever is recorded."""
        return np.asarray(self.about(points)(np.arange(len(points)), np.zeros((1, len(self._models))))[:, 0])

    def about(self, points: Sequence[Genotype]) -> "Outlook":
        """What some points may turn out to be: `Outcomes` of choices that weigh.

        Closed forms and surrogates that give one number are sure of it.
        """
        views = [view(points) for view in self._views]
        sure = {at: form(points) for at, form in enumerate(self._models) if isinstance(form, _Aligned)}
        return Outlook(self._models, views, sure)


class Outlook:
    """What some points may turn out to be.

    Args:
        models: of the objectives.
        views: features of the points.
        sure: position of an objective with a closed form -> (N,) its values.
    """

    def __init__(
        self,
        models: "Sequence[_Aligned | _Single | Belief | Blended | Line]",
        views: Sequence[np.ndarray],
        sure: Mapping[int, np.ndarray],
    ) -> None:
        self._models, self._views, self._sure = models, views, sure

    def __call__(self, rows: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        """(P, S, M) values of some of the points, each alone, at (S, M) deviations from their middle."""
        found = np.empty((len(rows), *deviations.shape))
        for at in range(len(self._models)):
            found[..., at] = self._alone(at, rows, deviations[:, at])
        return found

    def joint(self, rows: np.ndarray) -> list[Part]:
        """Some of the points together, objective by objective."""
        return [self._part(at, rows) for at in range(len(self._models))]

    def _part(self, at: int, rows: np.ndarray) -> Part:
        model = self._models[at]
        if isinstance(model, Blended | Line):
            return model.part([view[rows] for view in self._views])
        return Alone(lambda deviations: self._alone(at, rows, deviations))

    def _alone(self, at: int, rows: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        model = self._models[at]
        if isinstance(model, Belief):
            return model.outcomes(self._views[model.view][rows], deviations)
        if isinstance(model, Blended | Line):
            return model.outcomes([view[rows] for view in self._views], deviations)
        told = model(self._views[0][rows]) if isinstance(model, _Single) else self._sure[at][rows]
        return np.repeat(told[:, None], len(deviations), axis=1)


class _Single:
    """A surrogate's prediction: one number a point."""

    def __init__(self, predict: Predict) -> None:
        self._predict = predict

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return self._predict(rows)


class _Aligned:
    """A closed form with the scale and offset that fit the facts best."""

    def __init__(self, form: Cheap, space: Space, points: Sequence[Genotype], values: np.ndarray) -> None:
        self._form, self._space = form, space
        given = self._raw(points)
        self._slope, self._offset = 0.0, float(values.mean())
        if np.ptp(given) > 0:
            slope, offset = np.polyfit(given, values, 1)
            self._slope, self._offset = float(slope), float(offset)

    def __call__(self, points: Sequence[Genotype]) -> np.ndarray:
        return self._raw(points) * self._slope + self._offset

    def _raw(self, points: Sequence[Genotype]) -> np.ndarray:
        return np.array([self._form(self._space, point) for point in points], dtype=float)
