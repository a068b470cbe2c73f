"""Sampling of a network's layer statistics for formulas."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from evonas.proxies.samples import LayerSamples, sample
from evonas.proxies.statistics import NetworkStatistics


def sampled(found: NetworkStatistics, size: int = 512, seed: int = 0) -> LayerSamples:
    """Samples W and G of each layer's weight, and A and D of its output.

    Args:
        found: statistics of the network, with activations.
        size: sampled elements per tensor.
        seed: seed of the positions.
    """
    return sample(
        [
            {
                "W": _flat(layer.weight),
                "G": _flat(layer.weight_gradient),
                "A": _flat(layer.output),
                "D": _flat(layer.output_gradient),
            }
            for layer in found.layers
        ],
        size,
        seed,
    )


def _flat(tensor: Tensor | None) -> NDArray[np.floating]:
    assert tensor is not None, "statistics without activations have no A and no D"
    flat: NDArray[np.floating] = tensor.detach().float().flatten().cpu().numpy()
    return flat
