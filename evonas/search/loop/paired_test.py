"""Paired one-sided t-tests between points from their errors on the same images.

N points, K blocks of images, M objectives besides the error.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Values = NDArray[np.float64]
Rows = NDArray[np.intp]

# with fewer blocks the variance of the differences is too uncertain
MIN_BLOCKS = 4
MAX_BLOCKS = 32
_DIGITS = 6


@dataclass(frozen=True)
class PairedSample:
    """Errors of several points on the same images.

    Args:
        values: (N,) error over these images.
        errors: (N, K) error on each block of these images.
        sizes: (K,) number of images of each block.
        exact: (N, M) the other objectives, which do not depend on the images.
        share: these images as a fraction of all images.
    """

    values: Values
    errors: Values
    sizes: Values
    exact: Values
    share: float

    def rivals(self, row: int) -> Rows:
        """Indices of the points that are no worse than point `row` in every objective besides the error."""
        no_worse = (self.exact <= self.exact[row]).all(axis=1)
        no_worse[row] = False
        return np.flatnonzero(no_worse)

    def lower_bound(self, row: int, rivals: Rows, risk: float) -> Values:
        """Lower confidence bound of a point's error minus each rival's error, over all images.

        One-sided interval of Student's t for the mean of paired differences with the finite population
        correction (Cochran, Sampling Techniques, 3rd ed. 1977, sections 2.6 and 2.8), since only the images
        not seen are uncertain.

        Args:
            row: index of the point.
            rivals: (R,) indices of the points it is compared with.
            risk: probability that the bound exceeds the true difference, per rival.

        Returns:
            (R,) bounds; -inf for fewer than 4 blocks, or where all differences are equal.
        """
        blocks = len(self.sizes)
        if blocks < MIN_BLOCKS:
            return np.full(len(rivals), -np.inf)
        weights = self.sizes / self.sizes.sum()
        differences = self.errors[row] - self.errors[rivals]
        away = differences - (differences @ weights)[:, None]
        variance = (np.square(weights * away)).sum(axis=1) * blocks / (blocks - 1)
        deviation = np.sqrt(variance * (1.0 - self.share))
        lower = self.values[row] - self.values[rivals] - float(-stdtrit(blocks - 1, risk)) * deviation
        # smaller deviations are below the stored precision
        resolution = np.abs(self.errors[row]).max() * 10.0 ** (1 - _DIGITS)
        return np.where(deviation > resolution, lower, -np.inf)


def condense(errors: Sequence[float], sizes: Sequence[int]) -> tuple[list[float], list[int]]:
    """Merge neighbouring blocks into at most 32, with errors rounded to 6 significant digits.

    Args:
        errors: error on each block.
        sizes: number of images of each block.

    Returns:
        Errors (means weighted by size) and sizes of the merged blocks.
    """
    blocks = np.array_split(np.arange(len(errors)), min(len(errors), MAX_BLOCKS)) if len(errors) else []
    means = [
        math.fsum(errors[i] * sizes[i] for i in block) / sum(sizes[i] for i in block) for block in blocks
    ]
    return [float(f"{mean:.{_DIGITS}g}") for mean in means], [
        sum(sizes[i] for i in block) for block in blocks
    ]
