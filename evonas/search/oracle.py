"""Predicts every objective of a point from the recorded facts: by a surrogate, or by a closed form.

N points, S draws, M objectives.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from evonas.randomness import derive
from evonas.search.belief import Belief, Process
from evonas.search.cheap import Cheap
from evonas.search.expected import Outcomes
from evonas.search.ledger import Ledger
from evonas.search.surrogate import Predict, Surrogate
from evonas.search.views import views_of
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
        self._models: list[_Aligned | _Single | Belief] = []
        for at in range(values.shape[1]):
            told, of = values[:, at], derive(seed, "surrogate", at)
            if at in cheap:
                self._models.append(_Aligned(cheap[at], ledger.space, points, told))
            elif isinstance(surrogate, Process):
                self._models.append(surrogate.believe(rows, told, of))
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

    def about(self, points: Sequence[Genotype]) -> Outcomes:
        """What some points may turn out to be: `Outcomes` of choices that weigh.

        Closed forms and surrogates that give one number are sure of it.
        """
        views = [view(points) for view in self._views]
        sure = {at: form(points) for at, form in enumerate(self._models) if isinstance(form, _Aligned)}

        def outcomes(rows: np.ndarray, deviations: np.ndarray) -> np.ndarray:
            found = np.empty((len(rows), *deviations.shape))
            for at, model in enumerate(self._models):
                if isinstance(model, Belief):
                    found[..., at] = model.outcomes(views[model.view][rows], deviations[:, at])
                elif isinstance(model, _Single):
                    found[..., at] = model(views[0][rows])[:, None]
                else:
                    found[..., at] = sure[at][rows, None]
            return found

        return outcomes


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
