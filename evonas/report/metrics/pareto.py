"""The non-dominated set of points; every objective is minimised."""

from typing import TypeAlias

import moocore
import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]


def front(values: Values) -> Indices:
    """Rows that no other row dominates, ordered by the first objective; of equal rows, the first.

    Args:
        values: points by objectives, finite.
    """
    if len(values) == 0:
        return np.empty(0, dtype=np.intp)
    kept = np.flatnonzero(moocore.is_nondominated(values, keep_weakly=False))
    return kept[np.lexsort(values[kept].T[::-1])]


def normalised(values: Values) -> Values:
    """Values moved and scaled so that each objective spans 0 to 1; one that does not vary becomes 0."""
    low, high = values.min(axis=0), values.max(axis=0)
    return (values - low) / np.where(high > low, high - low, 1.0)
