"""Hypervolume against a reference point that was fixed when the search began."""

import moocore
import numpy as np

from evonas.report.pareto import Values, front


def hypervolume(values: Values, reference: Values) -> float:
    """Share of the box between zero and the reference point that the points dominate, 0 to 1.

    Two shares may be compared only when their reference points are equal. Points beyond
    the reference add nothing (Zitzler and Thiele 1998; computed by moocore).

    Args:
        values: points by objectives, minimised, not negative.
        reference: one number an objective; one that is 0 (nothing was worse than perfect) counts as 1.
    """
    if len(values) == 0:
        return 0.0
    box = np.where(np.asarray(reference) > 0, reference, 1.0)
    return float(moocore.hypervolume(values / box, ref=np.ones(len(box))))


def curve(values: Values, reference: Values, samples: int = 200) -> tuple[list[int], list[float]]:
    """Hypervolume after each of at most `samples` evenly spaced counts of points, in their order."""
    counts = [int(count) for count in np.linspace(1, len(values), min(samples, len(values)))]
    shares, best, done = [], values[:0], 0
    for count in counts:
        grown = np.concatenate([best, values[done:count]])
        best, done = grown[front(grown)], count
        shares.append(hypervolume(best, reference))
    return counts, shares
