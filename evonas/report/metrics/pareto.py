"""Pareto front of minimised objective values."""

from typing import TypeAlias

import moocore
import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]


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
