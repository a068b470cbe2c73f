"""Proxies of the Jacobian of outputs with respect to images.

Legend: B batch, n numbers of an image.
"""

import numpy as np
from numpy.typing import NDArray

from evonas.proxies.probe import Probe
from evonas.randomness import generator

_SMALL = 1e-5
# number of classes above which EPE-NAS averages differences between classes
_MANY = 100
IMAGES_PER_CLASS = 2


def jacov(probe: Probe) -> float:
    """-sum(log(v + k) + 1 / (v + k)) over eigenvalues v of the correlations between images, k = 1e-5.

    Mellor et al., arXiv 2006.04647, first version. Images with constant gradient have correlation zero.
    """
    values = np.linalg.eigvalsh(_correlations(probe.jacobian.cpu().double().numpy())) + _SMALL
    # rounding may make eigenvalues slightly negative
    values = np.maximum(values, _SMALL)
    return float(-np.sum(np.log(values) + 1 / values))


def epe(probe: Probe) -> float:
    """EPE-NAS (Lopes et al., ICANN 2021): correlations between the gradients within classes.

    Random images have no classes, so they are divided into classes of two at random, by the seed.
    """
    rows = probe.jacobian.cpu().double().numpy()
    order = generator(probe.seed, "proxies/classes").permutation(len(rows))
    number = max(len(rows) // IMAGES_PER_CLASS, 1)
    scores = [
        float(np.log(np.abs(_correlations(rows[chosen])) + _SMALL).sum())
        for chosen in np.array_split(order, number)
    ]
    return epe_of_classes(scores)


def epe_of_classes(scores: list[float]) -> float:
    """The sum of |score| for up to 100 classes, else the mean difference between two of them."""
    if len(scores) <= _MANY:
        return float(np.abs(scores).sum())
    found = np.array(scores)
    gaps = np.abs(found[:, None] - found[None])
    return float(gaps.sum() / (len(found) * (len(found) - 1)))


def _correlations(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlations between rows; a constant row correlates with itself only."""
    centred = rows - rows.mean(1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = centred / np.where(norms > 0, norms, 1.0)
    found = unit @ unit.T
    np.fill_diagonal(found, 1.0)
    return found
