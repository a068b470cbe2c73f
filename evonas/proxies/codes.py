"""Proxies of binary activation codes: which activations are positive for which image.

The code is the sign of the input of each ReLU, GELU, SiLU, Mish, ELU, leaky ReLU or Hardswish; networks without
activations are refused.
Legend: B batch, n activations.
"""

import math

import torch
from torch import Tensor

from evonas.errors import UserError
from evonas.proxies.magnitudes import params, saswot_minus
from evonas.proxies.probe import Probe

# maximum number of images whose codes fit into one integer
_MOST = 62
# minimum number of images; with fewer, large networks contain every pattern and have equal scores
_FEWEST = 32


def nwot(probe: Probe) -> float:
    """log |det K| with K_ij the number of activations equal for images i and j (Mellor et al., ICML 2021)."""
    total = torch.zeros(len(probe.images), len(probe.images), dtype=torch.float64)
    for code in _codes(probe):
        on = code.double().cpu()
        total += on @ on.T + (1 - on) @ (1 - on).T
    return float(torch.linalg.slogdet(total).logabsdet)


def saswot(probe: Probe) -> dict[str, float]:
    """The parts of SasWOT's rho (Dong et al., AAAI 2024), which are summed after min-max scaling over a set."""
    return {"saswot_minus": saswot_minus(probe), "nwot": nwot(probe)}


def swap(probe: Probe) -> float:
    """The number of distinct patterns over images among all activations (SWAP, Peng et al., ICLR 2024).

    There are at most 2^B patterns, so probes of fewer than 32 images are extended by random ones; of more than
    62 images the first 62 are used.
    """
    patterns = [_packed(code).unique() for code in _codes(_fitted(probe))]
    return float(len(torch.cat(patterns).unique()))


def _fitted(probe: Probe) -> Probe:
    """The probe with 32 to 62 images."""
    if _FEWEST <= len(probe.images) <= _MOST:
        return probe
    steps = math.ceil(_FEWEST / len(probe.images))
    images = torch.cat([probe.minibatch(step) for step in range(steps)])
    return Probe(probe.net, images[: max(_FEWEST, min(len(probe.images), _MOST))], probe.seed)


def swap_regularised(probe: Probe) -> dict[str, float]:
    """The parts of regularised SWAP; see `regularised`."""
    return {"swap": swap(probe), "params": params(probe)}


def regularised(score: float, size: float, mean: float, spread: float) -> float:
    """SWAP with a preference for networks of about `mean` parameters (Peng et al., ICLR 2024)."""
    return score * math.exp(-((size - mean) ** 2) / spread)


def _packed(code: Tensor) -> Tensor:
    """One integer per activation; bit i is its state for image i."""
    bits = 2 ** torch.arange(len(code), device=code.device)
    return (code.long() * bits[:, None]).sum(0)


def _codes(probe: Probe) -> tuple[Tensor, ...]:
    if not probe.codes:
        raise UserError(
            f"{type(probe.net).__name__} has no activations with binary codes.",
            "Choose a proxy of gradients, such as snip.",
        )
    return probe.codes
