"""Hypervolume improvement of many points over a Pareto front.

F points of the front, M objectives, K samples. All objectives are minimised.
"""

import numpy as np

_SAMPLES = 4096
_MAX_ROUNDS = 64
_CHUNK = 4_000_000


class HypervolumeImprovement:
    """Hypervolume that a point would add to a front within a box.

    Exact for one and two objectives. For more, it is estimated as the fraction of random points of the
    non-dominated part of the box that the point dominates; sampling only that part keeps the estimate precise
    when little of the box is non-dominated.

    Args:
        front: (F, M) Pareto front.
        ideal: (M,) lower corner of the box.
        reference: (M,) upper corner of the box; points beyond it have improvement 0.
        rng: random generator of the samples.
    """

    def __init__(
        self, front: np.ndarray, ideal: np.ndarray, reference: np.ndarray, rng: np.random.Generator
    ) -> None:
        self._front, self._reference = front[(front < reference).all(axis=1)], reference
        self._samples = self._sample(ideal, rng) if front.shape[1] > 2 else None

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """(...) improvement by each of (..., M) points alone."""
        if self._samples is not None:
            return self._estimate(points.reshape(-1, points.shape[-1])).reshape(points.shape[:-1])
        if points.shape[-1] == 1:
            best = min([float(self._reference[0]), *self._front[:, 0].tolist()])
            return np.asarray(np.maximum(best - points[..., 0], 0.0))
        return self._area(points[..., 0], points[..., 1])

    def add(self, point: np.ndarray) -> None:
        """Add an (M,) point to the front."""
        if (point < self._reference).all():
            self._front = np.vstack([self._front, point])
        if self._samples is not None:
            self._samples = self._samples[~(point <= self._samples).all(axis=1)]

    def _area(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Exact improvement for two objectives: a sum over the vertical strips between front members."""
        order = self._front[np.lexsort(self._front.T[::-1])]
        stairs = order[order[:, 1] < np.minimum.accumulate(np.r_[np.inf, order[:, 1]])[:-1]]
        edges = np.concatenate([[-np.inf], stairs[:, 0], self._reference[:1]])
        ceilings = np.concatenate([self._reference[1:], stairs[:, 1]])
        total = np.zeros(first.shape)
        for left, right, ceiling in zip(edges[:-1], edges[1:], ceilings, strict=True):
            width = np.maximum(right - np.maximum(first, left), 0.0)
            total += width * np.maximum(ceiling - second, 0.0)
        return total

    def _sample(self, ideal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(K, M) random points of the box that the front does not dominate; fewer if these are rare."""
        found = np.empty((0, len(ideal)))
        for _ in range(_MAX_ROUNDS):
            drawn = ideal + rng.random((_SAMPLES, len(ideal))) * (self._reference - ideal)
            dominated = np.zeros(len(drawn), dtype=bool)
            for point in self._front:
                dominated |= (point <= drawn).all(axis=1)
            found = np.vstack([found, drawn[~dominated]])
            if len(found) >= _SAMPLES:
                break
        return found[:_SAMPLES]

    def _estimate(self, points: np.ndarray) -> np.ndarray:
        assert self._samples is not None
        if not len(self._samples):
            return np.zeros(len(points))
        samples, each = self._samples, max(1, _CHUNK // max(len(self._samples), 1))
        parts = [points[at : at + each, None] for at in range(0, len(points), each)]
        return np.concatenate([(part <= samples).all(axis=2).mean(axis=1) for part in parts] or [np.empty(0)])
