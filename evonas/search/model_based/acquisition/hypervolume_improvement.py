"""How much hypervolume a point would add to a front, for very many points at once.

F points of the front, M objectives, K samples. All objectives are minimised.
"""

import numpy as np

_SAMPLES = 4096
_ROUNDS = 64
_CHUNK = 4_000_000


class Room:
    """The part of a box that a front leaves undominated, in which gains are measured.

    Exact for one and two objectives. For more, a gain is the share of random points of that part which the
    point would dominate; the less room the front leaves, the closer together they lie.

    Args:
        front: (F, M) points.
        ideal: (M,) best corner of the box.
        reference: (M,) worst corner; what lies beyond it gains nothing.
        rng: where samples come from.
    """

    def __init__(
        self, front: np.ndarray, ideal: np.ndarray, reference: np.ndarray, rng: np.random.Generator
    ) -> None:
        self._front, self._reference = front[(front < reference).all(axis=1)], reference
        self._free = self._drawn(ideal, rng) if front.shape[1] > 2 else None

    def gains(self, offered: np.ndarray) -> np.ndarray:
        """(...) what each of (..., M) points would add, alone."""
        if self._free is not None:
            return self._share(offered.reshape(-1, offered.shape[-1])).reshape(offered.shape[:-1])
        if offered.shape[-1] == 1:
            best = min([float(self._reference[0]), *self._front[:, 0].tolist()])
            return np.asarray(np.maximum(best - offered[..., 0], 0.0))
        return self._strips(offered[..., 0], offered[..., 1])

    def take(self, point: np.ndarray) -> None:
        """Count a point as part of the front from now on."""
        if (point < self._reference).all():
            self._front = np.vstack([self._front, point])
        if self._free is not None:
            self._free = self._free[~(point <= self._free).all(axis=1)]

    def _strips(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Between two neighbours of the front, what lies below the left one is free."""
        order = self._front[np.lexsort(self._front.T[::-1])]
        stairs = order[order[:, 1] < np.minimum.accumulate(np.r_[np.inf, order[:, 1]])[:-1]]
        edges = np.concatenate([[-np.inf], stairs[:, 0], self._reference[:1]])
        ceilings = np.concatenate([self._reference[1:], stairs[:, 1]])
        total = np.zeros(first.shape)
        for left, right, ceiling in zip(edges[:-1], edges[1:], ceilings, strict=True):
            width = np.maximum(right - np.maximum(first, left), 0.0)
            total += width * np.maximum(ceiling - second, 0.0)
        return total

    def _drawn(self, ideal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(K, M) random points of the box that no front member dominates; fewer where little is free."""
        found = np.empty((0, len(ideal)))
        for _ in range(_ROUNDS):
            drawn = ideal + rng.random((_SAMPLES, len(ideal))) * (self._reference - ideal)
            dominated = np.zeros(len(drawn), dtype=bool)
            for point in self._front:
                dominated |= (point <= drawn).all(axis=1)
            found = np.vstack([found, drawn[~dominated]])
            if len(found) >= _SAMPLES:
                break
        return found[:_SAMPLES]

    def _share(self, offered: np.ndarray) -> np.ndarray:
        assert self._free is not None
        if not len(self._free):
            return np.zeros(len(offered))
        free, each = self._free, max(1, _CHUNK // max(len(self._free), 1))
        parts = [offered[at : at + each, None] for at in range(0, len(offered), each)]
        return np.concatenate([(part <= free).all(axis=2).mean(axis=1) for part in parts] or [np.empty(0)])
