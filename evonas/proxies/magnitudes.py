"""Proxies that sum statistics of all layers: weights, gradients, their products, and counts.

Legend: B batch, C channels, w weights, g gradient of the loss by them.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from evonas.nn.count import count
from evonas.ops import backend
from evonas.proxies.probe import Probe
from evonas.proxies.record import weights_of
from evonas.proxies.statistics import LayerStatistics, statistics

MINIBATCHES = 2


def params(probe: Probe) -> float:
    """Number of trainable parameters."""
    return float(probe.statistics.params)


def flops(probe: Probe) -> float:
    """Multiply-adds of convolutions and matrix products for one image."""
    return float(count(probe.copy(), probe.images[:1])[1])


def grad_norm(probe: Probe) -> float:
    """The sum of |g|_2 over layers (Abdelfattah et al., ICLR 2021)."""
    return _summed(probe, lambda layer: layer.weight_gradient.norm())


def l2_norm(probe: Probe) -> float:
    """The sum of |w|_2 over layers (Abdelfattah et al., ICLR 2021)."""
    return _summed(probe, lambda layer: layer.weight.norm())


def plain(probe: Probe) -> float:
    """The sum of w g (Mozer and Smolensky 1989, as read by Abdelfattah et al., ICLR 2021)."""
    return _summed(probe, lambda layer: (layer.weight * layer.weight_gradient).sum())


def snip(probe: Probe) -> float:
    """The sum of |w g|, the gradient of a mask on the weights (Lee et al., ICLR 2019)."""
    return _summed(probe, lambda layer: (layer.weight * layer.weight_gradient).abs().sum())


def saswot_minus(probe: Probe) -> float:
    """rho_- of SasWOT: the number of weights with softmax(w) < ReLU(g), summed over layers (Dong et al., AAAI 2024).

    The softmax is over the whole layer; this reading of the paper reproduces its ranking of TransNAS-Bench-101 cells.
    """
    return float(sum(below(layer.weight, layer.weight_gradient) for layer in probe.statistics.layers))


def below(weight: Tensor, gradient: Tensor) -> int:
    """The number of entries of one layer with softmax(w) < ReLU(g)."""
    chances = torch.softmax(weight.flatten().double(), 0)
    return int((chances < gradient.flatten().double().relu()).sum())


def fisher(probe: Probe) -> float:
    """Half the mean over images of (sum of a dL/da over a channel) squared, summed over channels.

    a is the output of a layer (Theis et al. 2018; Turner et al., ICLR 2020). Channels are the second axis of a
    convolution's output and the last axis of a linear layer's.
    """
    return _summed(probe, _fisher)


def grasp(probe: Probe) -> float:
    """The sum of -w Hg with the Hessian H of the loss (Wang et al., ICLR 2020)."""
    net = probe.copy()
    weights = [parameter for _, parameter in weights_of(net).values()]
    # fused attention and custom kernels have no second derivative
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), backend.use("reference"):
        value = probe.loss(net(probe.images))
        first = _filled(torch.autograd.grad(value, weights, create_graph=True, allow_unused=True), weights)
        product = torch.stack([(each.detach() * each).sum() for each in first]).sum()
        second = _filled(torch.autograd.grad(product, weights, allow_unused=True), weights)
    return float(sum(-(w.detach() * h.detach()).sum().double() for w, h in zip(weights, second, strict=True)))


def zico(probe: Probe) -> float:
    """The sum over layers of log sum mean|g| / std g, over minibatches (Li et al., ICLR 2023).

    Weights with constant gradient, and layers without other weights, are skipped.
    """
    by_batch = [
        statistics(probe.net, probe.minibatch(step), probe.seed, partial(probe.loss, step=step), False)
        for step in range(MINIBATCHES)
    ]
    total = 0.0
    for layers in zip(*(each.layers for each in by_batch), strict=True):
        ratio = _signal([layer.weight_gradient for layer in layers])
        total += float(ratio.log()) if ratio > 0 else 0.0
    return total


def _signal(gradients: Sequence[Tensor]) -> Tensor:
    """The sum of mean|g| / std g over the weights of a layer, from one gradient per minibatch."""
    number = len(gradients)
    mean = sum(gradients[1:], start=gradients[0]) / number
    size = sum((each.abs() for each in gradients[1:]), start=gradients[0].abs()) / number
    variance = sum(((each - mean).square() for each in gradients), start=torch.zeros_like(mean)) / number
    return torch.where(variance > 0, size / variance.sqrt(), 0.0).sum()


def _fisher(layer: LayerStatistics) -> Tensor:
    assert layer.output is not None and layer.output_gradient is not None
    product = layer.output * layer.output_gradient
    channels = product.movedim(-1, 1) if layer.kind == "linear" else product
    per_image = channels.flatten(2).sum(2) if channels.ndim > 2 else channels
    return per_image.square().mean(0).sum() / 2


def _summed(probe: Probe, of: Callable[[LayerStatistics], Tensor]) -> float:
    return float(sum(of(layer).double() for layer in probe.statistics.layers))


def _filled(gradients: tuple[Tensor | None, ...], like: Sequence[Tensor]) -> list[Tensor]:
    """Replaces missing gradients by zeros."""
    return [
        torch.zeros_like(tensor, requires_grad=True) if gradient is None else gradient
        for gradient, tensor in zip(gradients, like, strict=True)
    ]
