"""Normalised hypervolume against the reference point that a search recorded."""

from collections.abc import Sequence

import moocore
import numpy as np

from evonas.report.metrics.pareto import Values, front

Point = Sequence[float] | Values


def hypervolume(values: Values, reference: Point, ideal: Point | None = None) -> float:
    """Hypervolume, normalised to the box between the ideal and the reference point.

    Only values of equal boxes are comparable. Points beyond the reference point add nothing (Zitzler and
    Thiele 1998; computed by moocore).

    Args:
        values: (N, M) minimised objective values, none better than the ideal point.
        reference: (M,) reference point; where it does not exceed the ideal point, the box is 1 wide.
        ideal: (M,) ideal point; None for zero.

    Returns:
        The dominated fraction of the box, in [0, 1].
    """
    if len(values) == 0:
        return 0.0
    scaled = to_unit(values, reference, ideal)
    return float(moocore.hypervolume(scaled, ref=np.ones(scaled.shape[1])))


def to_unit(values: Values, reference: Point, ideal: Point | None = None) -> Values:
    """(N, M) values scaled such that the ideal point is 0 and the reference point 1."""
    low = np.zeros(values.shape[1]) if ideal is None else np.asarray(ideal, dtype=np.float64)
    width = np.asarray(reference, dtype=np.float64) - low
    scaled: Values = (values - low) / np.where(width > 0, width, 1.0)
    return scaled


def curve(
    values: Values, reference: Point, samples: int = 200, ideal: Point | None = None
) -> tuple[list[int], list[float]]:
    """Hypervolume over the search: at most `samples` evenly spaced counts, and the value after each."""
    counts = [int(count) for count in np.linspace(1, len(values), min(samples, len(values)))]
    shares, best, done = [], values[:0], 0
    for count in counts:
        grown = np.concatenate([best, values[done:count]])
        best, done = grown[front(grown)], count
        shares.append(hypervolume(best, reference, ideal))
    return counts, shares
