"""Hypervolume against a reference point that was fixed when the search began."""

from collections.abc import Sequence

import moocore
import numpy as np

from evonas.report.metrics.pareto import Values, front

Point = Sequence[float] | Values


def hypervolume(values: Values, reference: Point, ideal: Point | None = None) -> float:
    """Share of the box between the ideal and the reference point that the points dominate, 0 to 1.

    Two shares may be compared only when their boxes are equal. Points beyond the
    reference add nothing (Zitzler and Thiele 1998; computed by moocore).

    Args:
        values: points by objectives, minimised, none better than the ideal.
        reference: one number an objective; where it is no worse than the ideal (nothing varied) the box is
            one unit wide.
        ideal: the best corner of the box; None for zero.
    """
    if len(values) == 0:
        return 0.0
    scaled = to_unit(values, reference, ideal)
    return float(moocore.hypervolume(scaled, ref=np.ones(scaled.shape[1])))


def to_unit(values: Values, reference: Point, ideal: Point | None = None) -> Values:
    """Values moved and scaled so that the ideal is 0 and the reference 1."""
    low = np.zeros(values.shape[1]) if ideal is None else np.asarray(ideal, dtype=np.float64)
    width = np.asarray(reference, dtype=np.float64) - low
    scaled: Values = (values - low) / np.where(width > 0, width, 1.0)
    return scaled


def curve(
    values: Values, reference: Point, samples: int = 200, ideal: Point | None = None
) -> tuple[list[int], list[float]]:
    """Hypervolume after each of at most `samples` evenly spaced counts of points, in their order."""
    counts = [int(count) for count in np.linspace(1, len(values), min(samples, len(values)))]
    shares, best, done = [], values[:0], 0
    for count in counts:
        grown = np.concatenate([best, values[done:count]])
        best, done = grown[front(grown)], count
        shares.append(hypervolume(best, reference, ideal))
    return counts, shares
