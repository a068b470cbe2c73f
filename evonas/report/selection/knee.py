"""Selection from a Pareto front: its knee, and evenly spread points."""

from collections.abc import Sequence

import numpy as np

from evonas.report.metrics.pareto import Values, normalised


def knee(values: Values) -> int:
    """Index of the knee: the point farthest from the plane through the best point of each objective.

    Das 1999, "On characterizing the knee of the Pareto curve". If the plane is undefined (two objectives share
    their best point), the plane with equal weights is used.

    Args:
        values: (F, M) Pareto front with at least one point.
    """
    points = normalised(values)
    normal = _plane(points)
    distance = (1.0 - points @ normal) / np.linalg.norm(normal)
    return int(np.argmax(np.round(distance, 12)))


def spread(values: Values, count: int, chosen: Sequence[int] = ()) -> list[int]:
    """Farthest-point selection: each new row maximises the distance to the rows selected before.

    Args:
        values: (F, M) Pareto front.
        count: number of rows to select; fewer are returned if no distinct points remain.
        chosen: rows selected already; if empty, the first row is the best of the first objective.
    """
    points = normalised(values)
    picked = list(chosen) or [int(np.argmin(points[:, 0]))]
    fresh = [] if chosen else picked[:count]
    while len(fresh) < count:
        gaps = np.linalg.norm(points[:, None] - points[None, picked], axis=2).min(axis=1)
        furthest = int(np.argmax(np.round(gaps, 12)))
        if gaps[furthest] <= 0:
            break
        picked.append(furthest)
        fresh.append(furthest)
    return fresh


def _plane(points: Values) -> Values:
    """(M,) normal n of the plane n x = 1 through the best point of each objective."""
    extremes = points[np.argmin(points, axis=0)]
    equal = np.ones(points.shape[1])
    if np.linalg.matrix_rank(extremes, tol=1e-6) < len(equal):
        return equal
    normal = np.linalg.solve(extremes, equal)
    return normal if (normal > 0).all() else equal
