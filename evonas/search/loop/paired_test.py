"""Paired comparisons: which points are worse than another beyond doubt, from errors on the same images.

Legend: N points, K pieces of the data, M objectives besides the error.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Values = NDArray[np.float64]
Rows = NDArray[np.intp]

# fewer differences say too little about their own spread
LEAST_PIECES = 4
MOST_PIECES = 32
_DIGITS = 6


@dataclass(frozen=True)
class Sample:
    """What some points have shown on the same images.

    Args:
        values: (N,) the error over these images.
        errors: (N, K) the error on each piece of them.
        sizes: (K,) images in each piece.
        exact: (N, M) the other objectives, which images do not change.
        share: these images over all there are.
    """

    values: Values
    errors: Values
    sizes: Values
    exact: Values
    share: float

    def rivals(self, row: int) -> Rows:
        """The rows that are no worse than a point in every objective besides the error."""
        no_worse = (self.exact <= self.exact[row]).all(axis=1)
        no_worse[row] = False
        return np.flatnonzero(no_worse)

    def excess(self, row: int, rivals: Rows, risk: float) -> Values:
        """How much larger the error of a point is on all images than that of each rival, at least.

        The lower end of a one-sided interval of Student's t for the mean of paired differences, with the
        correction for sampling without replacement (Cochran, Sampling Techniques, 3rd ed. 1977, sections
        2.6 and 2.8): the images not seen are all that is uncertain. -inf where nothing can be said: few
        pieces, or differences that are all the same and so say nothing about their spread.

        Args:
            row: the point.
            rivals: rows to compare it with.
            risk: the chance of being above the true difference, for each rival.
        """
        pieces = len(self.sizes)
        if pieces < LEAST_PIECES:
            return np.full(len(rivals), -np.inf)
        weights = self.sizes / self.sizes.sum()
        differences = self.errors[row] - self.errors[rivals]
        away = differences - (differences @ weights)[:, None]
        variance = (np.square(weights * away)).sum(axis=1) * pieces / (pieces - 1)
        deviation = np.sqrt(variance * (1.0 - self.share))
        lower = self.values[row] - self.values[rivals] - _quantile(pieces - 1, risk) * deviation
        # below the digits that are kept, differences are all the same
        resolution = np.abs(self.errors[row]).max() * 10.0 ** (1 - _DIGITS)
        return np.where(deviation > resolution, lower, -np.inf)


def condensed(errors: Sequence[float], sizes: Sequence[int]) -> tuple[list[float], list[int]]:
    """At most 32 pieces out of many, neighbours joined to their mean; six digits, as only spreads need them.

    Args:
        errors: on each piece.
        sizes: images in each piece.
    """
    blocks = np.array_split(np.arange(len(errors)), min(len(errors), MOST_PIECES)) if len(errors) else []
    means = [
        math.fsum(errors[i] * sizes[i] for i in block) / sum(sizes[i] for i in block) for block in blocks
    ]
    return [float(f"{mean:.{_DIGITS}g}") for mean in means], [
        sum(sizes[i] for i in block) for block in blocks
    ]


def _quantile(freedom: int, risk: float) -> float:
    return float(-stdtrit(freedom, risk))
