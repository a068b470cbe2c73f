"""Images of two splits that are nearly equal, such as neighbouring frames of a video, by their correlation.

A thumbnail of each image, minus the mean thumbnail of the data set, so that a common background does not count, is
compared with all those of the other split, as it is and mirrored. It is brought to one mean and contrast first, so that
brightness does not count, and blurred, so that a crop by a few percent still lies on its original.

Legend: N M images, F features.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

# side of a thumbnail in pixels
SIDE = 24
# standard deviation of its blur in pixels
_BLUR = 1.0
# below this contrast in grey levels a thumbnail is plain and is like any other
_PLAIN = 2.0
# below this share of its contrast an image shows what all others do
_COMMON = 0.05
# fewer images have no mean that shows what they have in common
_ENOUGH = 12
_CHUNK = 2048

Features = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pair:
    """Indices of two similar images, the first in one split and the second in the other; 1 is equal."""

    first: int
    second: int
    similarity: float


def thumbnail(picture: NDArray[np.uint8]) -> Features:
    """The blurred grey thumbnail of an image H W 3, of zero mean and unit length; zero if it is plain. F."""
    grey = Image.fromarray(picture).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    found: Features = gaussian_filter(np.asarray(grey, dtype=np.float32), _BLUR).ravel()
    found -= found.mean()
    length = np.linalg.norm(found)
    return found / length if length >= _PLAIN * SIDE else np.zeros_like(found)


def near_duplicates(first: Features, second: Features, mean: Features, least: float) -> list[Pair]:
    """For every image of the second split its most similar one of the first, if they are at least so similar.

    Mirrored copies count as copies.

    Args:
        first, second: thumbnails, N F and M F.
        mean: mean thumbnail of the data set, F; see `mean_thumbnail`.
        least: least correlation, in [-1, 1].
    """
    if not len(first) or not len(second):
        return []
    known, asked = _normalised(first, mean), _normalised(second, mean)
    turned = _normalised(second.reshape(-1, SIDE, SIDE)[..., ::-1].reshape(second.shape), mean)
    found: list[Pair] = []
    for start in range(0, len(asked), _CHUNK):
        rows = slice(start, start + _CHUNK)
        likeness = np.maximum(asked[rows] @ known.T, turned[rows] @ known.T)
        best = likeness.argmax(axis=1)
        for row, place in enumerate(best.tolist()):
            if likeness[row, place] >= least:
                found.append(Pair(place, start + row, float(likeness[row, place])))
    return sorted(found, key=lambda pair: (-pair.similarity, pair.second))


def mean_thumbnail(thumbnails: Features) -> Features:
    """The mean of the thumbnails of a data set, F; zero where there are too few to have anything in common."""
    if len(thumbnails) < _ENOUGH:
        return np.zeros(SIDE * SIDE, dtype=np.float32)
    mean: Features = thumbnails.mean(axis=0)
    return mean


def _normalised(thumbnails: Features, mean: Features) -> Features:
    """What thumbnails show besides their mean, of unit length; zero where that is nothing, so that it equals none."""
    rest = thumbnails - mean
    length = np.linalg.norm(rest, axis=1, keepdims=True)
    is_plain = (length < _COMMON) | ~thumbnails.any(axis=1, keepdims=True)
    unit: Features = np.where(is_plain, 0, rest / np.maximum(length, 1e-6)).astype(np.float32)
    return unit
