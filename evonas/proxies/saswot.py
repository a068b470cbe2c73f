"""SasWOT's proxies for dense tasks (Dong et al., SasWOT, AAAI 2024).

The paper defines rho_- = sum over layers of (softmax(W) < ReLU(dL/dW)). Here the softmax is over the whole layer and
true entries are counted; this reading reproduces the published ranking of TransNAS-Bench-101 cells.
"""

import torch
from torch import Tensor

from evonas.proxies.codes import nwot
from evonas.proxies.probe import Probe


def saswot_minus(probe: Probe) -> float:
    """rho_-: the number of weights with softmax(W) < ReLU(G)."""
    return float(sum(below(layer.weight, layer.weight_gradient) for layer in probe.statistics.layers))


def saswot(probe: Probe) -> dict[str, float]:
    """The two parts of rho: rho_- and log |det K_H|, which are summed after min-max scaling over a set."""
    return {"saswot_minus": saswot_minus(probe), "nwot": nwot(probe)}


def below(weight: Tensor, gradient: Tensor) -> int:
    """Number of entries of one layer with softmax(W) < ReLU(G)."""
    chances = torch.softmax(weight.flatten().double(), 0)
    return int((chances < gradient.flatten().double().relu()).sum())
