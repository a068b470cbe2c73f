"""Pareto front of minimised objective values, exact or within their confidence intervals."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import moocore
import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]
Mask: TypeAlias = NDArray[np.bool_]


def front(values: Values) -> Indices:
    """Indices of the Pareto front, sorted by the first objective; of equal rows, only the first.

    Args:
        values: (N, M) finite objective values.
    """
    if len(values) == 0:
        return np.empty(0, dtype=np.intp)
    kept = np.flatnonzero(moocore.is_nondominated(values, keep_weakly=False))
    return kept[np.lexsort(values[kept].T[::-1])]


def normalised(values: Values) -> Values:
    """(N, M) values with each objective scaled to [0, 1]; a constant objective becomes 0."""
    low, high = values.min(axis=0), values.max(axis=0)
    return (values - low) / np.where(high > low, high - low, 1.0)


def surely_dominates(low: Values, high: Values) -> Mask:
    """(N, N) whether row i certainly dominates row j.

    It does if in every objective its interval lies below the other interval, or both are the same single
    value, and in at least one objective it lies below. For intervals of width 0 this is Pareto dominance.

    Args:
        low: (N, M) lower bounds of minimised objectives.
        high: (N, M) upper bounds.
    """
    return _dominates(np.arange(len(low)), low, high)


def front_within_noise(low: Values, high: Values) -> Indices:
    """Rows that no other row certainly dominates, sorted by the middle of the first objective.

    Args:
        low: (N, M) finite lower bounds.
        high: (N, M) upper bounds, at least `low`.
    """
    if len(low) == 0:
        return np.empty(0, dtype=np.intp)
    # dominance is transitive, so a dominated row is dominated by a row of the front of the upper bounds
    kept = np.flatnonzero(~_dominates(front(high), low, high).any(axis=0))
    middle = (low + high) / 2
    return kept[np.lexsort(middle[kept].T[::-1])]


def surely_on_front(rows: Indices, low: Values, high: Values) -> Mask:
    """Which rows are non-dominated for all true values within the intervals.

    Args:
        rows: rows of the front by the recorded values.
        low: (N, M) lower bounds.
        high: (N, M) upper bounds.
    """
    found = np.ones(len(rows), dtype=bool)
    for place, row in enumerate(rows):
        may_beat = (low <= high[row]).all(axis=1) & (low < high[row]).any(axis=1)
        may_beat[row] = False
        found[place] = not may_beat.any()
    return found


def ends(names: Sequence[str], values: Values, extras: Sequence[Mapping[str, Any]]) -> tuple[Values, Values]:
    """Confidence bounds of objective values; without a recorded interval, both bounds are the value.

    Args:
        names: objective names, in order.
        values: (N, M) objective values.
        extras: recorded data of each point; `{name: {"low_ms", "high_ms"}}` is an interval.

    Returns:
        (N, M) lower and (N, M) upper bounds.
    """
    low, high = values.copy(), values.copy()
    for row, extra in enumerate(extras):
        for column, name in enumerate(names):
            known = extra.get(name)
            if isinstance(known, Mapping) and {"low_ms", "high_ms"} <= known.keys():
                low[row, column] = min(low[row, column], float(known["low_ms"]))
                high[row, column] = max(high[row, column], float(known["high_ms"]))
    return low, high


def _dominates(rows: Indices, low: Values, high: Values) -> Mask:
    """(R, N) whether row rows[i] certainly dominates row j."""
    below = high[rows, None, :] < low[None, :, :]
    # overlapping intervals decide nothing, unless both have width 0
    above = low[rows, None, :] > high[None, :, :]
    exact = low == high
    no_worse = below | (~above & exact[rows, None, :] & exact[None, :, :])
    return np.asarray(no_worse.all(axis=2) & below.any(axis=2))
