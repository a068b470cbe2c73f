"""From the statistics of a network to the sample that formulas are evaluated on."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from evonas.proxies.samples import LayerSamples, sample
from evonas.proxies.statistics import NetworkStatistics


def sampled(found: NetworkStatistics, size: int = 512, seed: int = 0) -> LayerSamples:
    """The leaves of formulas for one network: W and G of each layer's weight, A and D of its output.

    Args:
        found: taken with activations.
        size: elements to keep of each tensor.
        seed: of their places.
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
