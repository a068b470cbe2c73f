"""Proxies of feature maps: Zen and MeCo.

Legend: B batch, C channels, P places of a map.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from evonas.errors import InfeasibleError
from evonas.proxies.probe import Probe
from evonas.proxies.statistics import LayerStatistics, single
from evonas.randomness import derive

_STEP = 0.01


def zen(probe: Probe) -> float:
    """log E |f(x) - f(x + 0.01 z)| + sum over batch norms of log sqrt(mean variance), with Gaussian weights.

    Lin et al., ICCV 2021, algorithm 1, with the Euclidean norm and with residual connections. f are the maps before
    pooling (`net.maps` or the last of `net.features`), or the output of a network without either. Layer norms add no
    second term, since they do not average over images.
    """
    net = _gaussian(probe.copy(), derive(probe.seed, "proxies/zen"))
    noise = torch.Generator().manual_seed(derive(probe.seed, "proxies/zen/noise"))
    step = _STEP * torch.randn(probe.images.shape, generator=noise).to(probe.images)
    with torch.no_grad():
        with _Variances() as variances:
            here = _maps(net, probe.images)
        there = _maps(net, probe.images + step)
    moved = (here - there).flatten(1).norm(dim=1).mean().double()
    if not moved > 0:
        raise InfeasibleError("the output does not depend on the image")
    return float(moved.log() + 0.5 * sum(each.log() for each in variances.found))


def meco(probe: Probe) -> float:
    """The sum over layers of the smallest eigenvalue of the channel correlations of the first image.

    Jiang et al., NeurIPS 2023. A map with fewer positions than channels has the eigenvalue zero.
    """
    return float(sum(_least(_rows(layer)) for layer in probe.statistics.layers))


class _Variances(TorchFunctionMode):
    """Records the variance of every batch norm's input, averaged over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        if func is F.batch_norm:
            over = [axis for axis in range(args[0].ndim) if axis != 1]
            variance = args[0].double().var(over, correction=0).mean()
            # zero inputs, after a `none` operation, are skipped
            if variance > 0:
                self.found.append(variance)
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def _gaussian(net: nn.Module, seed: int) -> nn.Module:
    """The network with standard normal weights and zero biases."""
    source = torch.Generator().manual_seed(seed)
    for name, parameter in net.named_parameters():
        if parameter.ndim > 1:
            parameter.copy_(torch.randn(parameter.shape, generator=source))
        elif name.rpartition(".")[2] == "bias":
            parameter.zero_()
    return net


def _maps(net: Any, images: Tensor) -> Tensor:
    if hasattr(net, "maps"):
        return single(net.maps(images))
    if hasattr(net, "features"):
        found = net.features(images)
        return single(found if isinstance(found, Tensor) else found[-1])
    return single(net(images))


def _rows(layer: LayerStatistics) -> Tensor:
    """The channels of the first image: (C P)."""
    assert layer.output is not None
    first = layer.output[0]
    return first.reshape(-1, first.shape[-1]).T if layer.kind == "linear" else first.flatten(1)


def _least(rows: Tensor) -> float:
    channels, places = rows.shape
    if places <= channels:
        return 0.0
    centred = rows.double() - rows.double().mean(1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True)
    unit = centred / torch.where(norms > 0, norms, 1.0)
    return float(torch.linalg.eigvalsh(unit @ unit.T)[0])
