"""Dominance under noise: values that are intervals, of which only the clear differences count."""

import numpy as np
from numpy.typing import NDArray

from evonas.report.pareto import Indices, Values


def surely_dominates(low: Values, high: Values) -> NDArray[np.bool_]:
    """Who is better than whom beyond doubt: entry [i, j] tells whether row i dominates row j.

    Row i does when in every objective its interval lies wholly below the other's or both are the same point,
    and in one objective it lies below. With intervals of no width this is dominance of points.

    Args:
        low: points by objectives, the lower ends; every objective is minimised.
        high: the upper ends.
    """
    below = high[:, None, :] < low[None, :, :]
    # where intervals meet nothing is known, unless both are points
    above = low[:, None, :] > high[None, :, :]
    overlapping = ~below & ~above
    exact = (low == high)[:, None, :] & (low == high)[None, :, :]
    no_worse = below | (overlapping & exact)
    return np.asarray(no_worse.all(axis=2) & below.any(axis=2))


def front_within_noise(low: Values, high: Values) -> Indices:
    """Rows that no other row dominates beyond doubt, ordered by the middle of the first objective.

    Args:
        low: points by objectives, the lower ends of intervals, finite.
        high: the upper ends, nowhere below `low`.
    """
    if len(low) == 0:
        return np.empty(0, dtype=np.intp)
    kept = np.flatnonzero(~surely_dominates(low, high).any(axis=0))
    middle = (low + high) / 2
    return kept[np.lexsort(middle[kept].T[::-1])]
