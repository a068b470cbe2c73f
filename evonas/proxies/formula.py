"""Formulas as proxies, evaluated on samples of a network's layer statistics."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from evonas.proxies.expression import Calculator, parse
from evonas.proxies.probe import Probe
from evonas.proxies.samples import LayerSamples, sample
from evonas.proxies.statistics import NetworkStatistics

# default number of sampled elements per tensor
SAMPLE = 512


def formula(text: str) -> Callable[[Probe], float]:
    """The measuring function of a formula such as `sum(less(softmax(W), relu(G)))`.

    Raises:
        UserError: the text is not a formula.
    """
    node = parse(text)

    def measure(probe: Probe) -> float:
        samples = sampled(probe.statistics, SAMPLE, probe.seed)
        return float(Calculator(samples).score(node)[0])

    return measure


def sampled(found: NetworkStatistics, size: int = SAMPLE, seed: int = 0) -> LayerSamples:
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
