"""Layer statistics of one forward and backward pass of an untrained network.

Several zero-cost proxies and their discovery use the same statistics, so a network runs once for all of them.
Legend: B batch, C channels, H W space.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.auxiliary import main_output
from evonas.nn.residual import ResidualBlock
from evonas.proxies.inputs import Loss, RandomTargets
from evonas.proxies.record import Call, Recorder


@dataclass(frozen=True, eq=False, slots=True)
class LayerStatistics:
    """Statistics of a convolution or linear layer, and of the following activation if there is one.

    Gradients are those of the loss, zero if it does not depend on the layer. Maps are None if they were not requested;
    `preactivation`, `activation` and its gradient are also None if no activation follows.

    Args:
        name: name of the layer in the network.
        kind: convolution, transposed or linear.
        weight: (out in h w), (in out h w) for transposed, (out in) for linear.
        weight_gradient: gradient of the weight.
        macs: multiply-adds for one image.
        input: input of the layer.
        output: output of the layer.
        output_gradient: gradient of the output.
        preactivation: input of the activation: the output, after norms if there are any.
        activation: output of the activation.
        activation_gradient: gradient of the activation's output.
    """

    name: str
    kind: str
    weight: Tensor
    weight_gradient: Tensor
    macs: int
    input: Tensor | None = None
    output: Tensor | None = None
    output_gradient: Tensor | None = None
    preactivation: Tensor | None = None
    activation: Tensor | None = None
    activation_gradient: Tensor | None = None


@dataclass(frozen=True, eq=False, slots=True)
class NetworkStatistics:
    """Statistics of all layers in execution order.

    Args:
        layers: statistics of each layer.
        params: number of parameters of the whole network.
        macs: multiply-adds of the layers for one image, without products of tokens.
        loss: value of the loss.
    """

    layers: tuple[LayerStatistics, ...]
    params: int
    macs: int
    loss: float


def statistics(
    net: nn.Module,
    images: Tensor,
    seed: int = 0,
    loss: Loss | None = None,
    activations: bool = True,
    positions: int | None = None,
) -> NetworkStatistics:
    """The statistics of one forward and backward pass of a copy of the network, in training mode without dropout.

    The network is not changed. Equal seeds give equal results.

    Args:
        net: a network that maps images to one tensor.
        images: (B C H W) on the network's device; B is at least 2 for networks with batch norms.
        seed: seed of the random targets, which are used without `loss`.
        loss: loss of the output; None for random targets.
        activations: whether maps and their gradients are kept in addition to weights.
        positions: maximum number of evenly spaced positions that are kept of every map, (B C P) instead of (B C H W);
            None for all.

    Raises:
        UserError: the network has no convolution or linear layer, or its output is not one tensor.
    """
    own = untrained_copy(net)
    with torch.enable_grad():
        with Recorder(own) as recorder:
            output = own(images)
        value = (loss or RandomTargets(seed))(single(output))
    calls = list(recorder.calls.values())
    if not calls:
        raise UserError(f"{type(net).__name__} has no convolution and no linear layer to measure.")
    gradients = _gradients(value, calls, activations)
    kept = tuple(
        _record(call, *found, activations, positions) for call, found in zip(calls, gradients, strict=True)
    )
    params = sum(parameter.numel() for parameter in own.parameters())
    return NetworkStatistics(kept, params, sum(call.macs for call in calls), float(value.detach()))


def untrained_copy(net: nn.Module) -> nn.Module:
    """A trainable copy in training mode without dropout and stochastic depth, which proxies may change."""
    own = copy.deepcopy(net).train().requires_grad_(True)
    own.zero_grad(set_to_none=True)
    for module in own.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
        if isinstance(module, ResidualBlock):
            module.drop_path = 0.0
    return own


def single(output: object) -> Tensor:
    """The main output of a network, without that of an auxiliary head.

    Raises:
        UserError: the output is not one tensor.
    """
    tensor = main_output(output)
    if not isinstance(tensor, Tensor):
        raise UserError(
            f"A proxy needs a network with one output tensor, got {type(tensor).__name__}.",
            "Use a part of the network, such as its backbone with one of its maps.",
        )
    return tensor


def _gradients(
    value: Tensor, calls: Sequence[Call], activations: bool
) -> list[tuple[Tensor, Tensor | None, Tensor | None]]:
    """The gradients of each call's weight, output and activation, by one backward pass."""
    wanted: list[Tensor] = [call.weight for call in calls]
    if activations:
        wanted += [call.output for call in calls]
        wanted += [call.activation for call in calls if call.activation is not None]
    found = torch.autograd.grad(value, wanted, allow_unused=True)
    known = {
        id(tensor): torch.zeros_like(tensor) if gradient is None else gradient
        for tensor, gradient in zip(wanted, found, strict=True)
    }
    return [
        (known[id(call.weight)], known.get(id(call.output)), known.get(id(call.activation))) for call in calls
    ]


def _record(
    call: Call,
    weight: Tensor,
    output: Tensor | None,
    activation: Tensor | None,
    activations: bool,
    positions: int | None,
) -> LayerStatistics:
    base = (call.name, call.kind, call.weight.detach(), weight.detach(), call.macs)
    if not activations:
        return LayerStatistics(*base)
    maps = (call.input, call.output, output, call.preactivation, call.activation, activation)
    return LayerStatistics(
        *base, *(None if each is None else _thinned(each.detach(), positions) for each in maps)
    )


def _thinned(map: Tensor, positions: int | None) -> Tensor:
    """A map at evenly spaced positions; smaller maps and other tensors are unchanged."""
    if positions is None or map.ndim != 4 or map.shape[2:].numel() <= positions:
        return map
    places = map.flatten(2)
    chosen = torch.linspace(0, places.shape[-1] - 1, positions, device=map.device).round().long()
    return places[..., chosen]
