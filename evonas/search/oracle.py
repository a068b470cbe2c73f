"""Predicts every objective of a point from the recorded facts: by a surrogate, or by a closed form."""

from collections.abc import Mapping, Sequence

import numpy as np

from evonas.randomness import derive
from evonas.search.cheap import Cheap
from evonas.search.features import Features
from evonas.search.ledger import Ledger
from evonas.search.surrogate import Predict, Surrogate
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
        self._space, self._known = ledger.space, dict(ledger.measured)
        self._features = Features(ledger.space)
        points, values = ledger.points(), ledger.values()
        rows = self._features(points)
        self._forms: list[_Aligned | None] = []
        self._models: list[Predict | None] = []
        for at in range(values.shape[1]):
            form = _Aligned(cheap[at], self._space, points, values[:, at]) if at in cheap else None
            model = None if form else surrogate.fit(rows, values[:, at], derive(seed, "surrogate", at))
            self._forms.append(form)
            self._models.append(model)

    def __call__(self, points: Sequence[Genotype]) -> np.ndarray:
        """(N, M) facts where they are recorded, predictions elsewhere."""
        values = self.predict(points)
        for row, point in enumerate(points):
            if point in self._known:
                values[row] = self._known[point]
        return values

    def predict(self, points: Sequence[Genotype]) -> np.ndarray:
        """(N, M) predictions, whatever is recorded."""
        rows = self._features(points)
        answered = []
        for form, model in zip(self._forms, self._models, strict=True):
            if form is not None:
                answered.append(form(points))
            else:
                assert model is not None, "an objective has a form or a model"
                answered.append(model(rows))
        return np.column_stack(answered)


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
