"""Random starting weights as a function of a seed."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from evonas.nn.elastic import ElasticDepthwise, ElasticLayerNorm, ElasticLinear
from evonas.nn.mixers import SSDMixer
from evonas.nn.sasf import ScanMixer, StateFusion

_LINEAR = (nn.Linear, ElasticLinear)
_CONVOLUTION = (nn.Conv2d, nn.ConvTranspose2d, ElasticDepthwise)
_NORM = (nn.LayerNorm, nn.BatchNorm2d)


@contextmanager
def unset(network: nn.Module, seed: int | None) -> Iterator[None]:
    """Build the parts of `network` inside without drawing from the global generator.

    At the end they are on the CPU, with weights drawn from `seed`, or unset where it is None.
    """
    with torch.device("meta"):
        yield
    network.to_empty(device="cpu")
    if seed is not None:
        # a network may be built as a part of another one that is unset itself
        with torch.device("cpu"):
            initialise(network, seed)


def initialise(network: nn.Module, seed: int) -> None:
    """Draw every weight anew on the CPU, without touching the global generator.

    Linear layers: normal of deviation 0.02 cut at 2, zero bias. Convolutions: uniform within
    1 / sqrt(fan in). Norms: one and zero. SSD: A uniform in [1, 16], step sizes log-uniform
    in [1e-3, 1e-1], D one (Mamba-2, arXiv 2405.21060). SASF: A and D one, step sizes likewise
    (Mamba, arXiv 2312.00752); fused states start as sums (Spatial-Mamba, arXiv 2410.15091).
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        _initialise(module, generator)


@torch.no_grad()
def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    if isinstance(module, _LINEAR):
        nn.init.trunc_normal_(module.weight, std=0.02, a=-2.0, b=2.0, generator=generator)
        if module.bias is not None:
            module.bias.zero_()
    elif isinstance(module, _CONVOLUTION):
        _uniform(module.weight, module.weight[0].numel(), generator)
        if module.bias is not None:
            _uniform(module.bias, module.weight[0].numel(), generator)
    elif isinstance(module, _NORM):
        module.reset_parameters()
    elif isinstance(module, ElasticLayerNorm):
        module.weight.fill_(1)
        module.bias.zero_()
    elif isinstance(module, SSDMixer):
        module.D.fill_(1)
        module.A_log.uniform_(1, 16, generator=generator).log_()
        module.dt_bias.copy_(_inverse_softplus(_step_sizes(module.heads, generator)))
    elif isinstance(module, ScanMixer):
        module.D.fill_(1)
        module.A_log.zero_()
        _uniform(module.dt_weight, module.rank, generator)
        module.dt_bias.copy_(_inverse_softplus(_step_sizes(module.dt_bias.numel(), generator)))
    elif isinstance(module, StateFusion):
        module.kernels.fill_(1)
        module.alpha.fill_(1)


def _uniform(tensor: Tensor, fan_in: int, generator: torch.Generator) -> None:
    bound = 1 / math.sqrt(fan_in)
    tensor.uniform_(-bound, bound, generator=generator)


def _step_sizes(count: int, generator: torch.Generator) -> Tensor:
    low, high = math.log(1e-3), math.log(1e-1)
    return torch.empty(count).uniform_(low, high, generator=generator).exp_().clamp_(min=1e-4)


def _inverse_softplus(y: Tensor) -> Tensor:
    # log(exp(y) - 1) without losing small y
    return y + torch.log(-torch.expm1(-y))
