"""The dilated kernels as one list of taps, each a place and a weight per channel.

Legend: C channels, K dilations, T taps.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from evonas.ops.dilated.reference import DILATIONS


def merged(kernels_KC33: Float[Tensor, "K C 3 3"], alpha_K: Float[Tensor, " K"]) -> Float[Tensor, "T C"]:
    """Weights of the taps in the order of `places`, with gradients; the centres are one tap, the first."""
    scaled_KC33 = kernels_KC33 * alpha_K.view(-1, 1, 1, 1)
    weights = [scaled_KC33[:, :, 1, 1].sum(dim=0)]
    for scaled_C33 in scaled_KC33:
        weights += [scaled_C33[:, row + 1, column + 1] for row, column in _around()]
    return torch.stack(weights)


def places() -> list[tuple[int, int]]:
    """How many rows and columns away each tap is."""
    return [(0, 0)] + [(row * d, column * d) for d in DILATIONS for row, column in _around()]


def _around() -> Iterator[tuple[int, int]]:
    return ((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column)
