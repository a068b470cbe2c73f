"""Dominance under noise: values that are intervals, of which only the clear differences count."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.report.metrics.pareto import Indices, Values, front

Mask = NDArray[np.bool_]


def surely_dominates(low: Values, high: Values) -> Mask:
    """Who is better than whom beyond doubt: entry [i, j] tells whether row i dominates row j.

    Row i does when in every objective its interval lies wholly below the other's or both are the same point,
    and in one objective it lies below. With intervals of no width this is dominance of points.

    Args:
        low: points by objectives, the lower ends; every objective is minimised.
        high: the upper ends.
    """
    return _beats(np.arange(len(low)), low, high)


def front_within_noise(low: Values, high: Values) -> Indices:
    """Rows that no other row dominates beyond doubt, ordered by the middle of the first objective.

    Args:
        low: points by objectives, the lower ends of intervals, finite.
        high: the upper ends, nowhere below `low`.
    """
    if len(low) == 0:
        return np.empty(0, dtype=np.intp)
    # whoever is beaten is beaten by a row of the front of the upper ends, because being below is transitive
    kept = np.flatnonzero(~_beats(front(high), low, high).any(axis=0))
    middle = (low + high) / 2
    return kept[np.lexsort(middle[kept].T[::-1])]


def surely_on_front(rows: Indices, low: Values, high: Values) -> Mask:
    """Which of some rows no other row could dominate, wherever in their intervals the truths lie.

    Args:
        rows: of the front by the recorded values.
        low: points by objectives, the lower ends.
        high: the upper ends.
    """
    found = np.ones(len(rows), dtype=bool)
    for place, row in enumerate(rows):
        may_beat = (low <= high[row]).all(axis=1) & (low < high[row]).any(axis=1)
        may_beat[row] = False
        found[place] = not may_beat.any()
    return found


def ends(names: Sequence[str], values: Values, extras: Sequence[Mapping[str, Any]]) -> tuple[Values, Values]:
    """The intervals of measured values; an objective that recorded none is exactly its value.

    Args:
        names: the objectives, in order.
        values: points by objectives.
        extras: what else was recorded of each point; `{name: {"low_ms", "high_ms"}}` is an interval.

    Returns:
        The lower and the upper ends, points by objectives.
    """
    low, high = values.copy(), values.copy()
    for row, extra in enumerate(extras):
        for column, name in enumerate(names):
            known = extra.get(name)
            if isinstance(known, Mapping) and {"low_ms", "high_ms"} <= known.keys():
                low[row, column] = min(low[row, column], float(known["low_ms"]))
                high[row, column] = max(high[row, column], float(known["high_ms"]))
    return low, high


def _beats(rows: Indices, low: Values, high: Values) -> Mask:
    """Entry [i, j] tells whether row rows[i] dominates row j beyond doubt."""
    below = high[rows, None, :] < low[None, :, :]
    # where intervals meet nothing is known, unless both are points
    above = low[rows, None, :] > high[None, :, :]
    exact = low == high
    no_worse = below | (~above & exact[rows, None, :] & exact[None, :, :])
    return np.asarray(no_worse.all(axis=2) & below.any(axis=2))
