"""What one forward and one backward of an untrained network tell, layer by layer.

Zero-cost proxies and their discovery read these numbers and nothing else, so that a network runs once for
all of them.
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
    """A convolution or linear layer, with the activation that reads its output where there is one.

    Gradients are those of the loss, zero where it does not depend on the layer. Activations are None if they
    were not asked for; `preactivation`, `activation` and its gradient also if no activation follows.

    Args:
        name: of the layer in the network.
        kind: convolution, transposed or linear.
        weight: (out in h w), for transposed (in out h w), for linear (out in).
        weight_gradient: of the same shape.
        macs: multiply-adds for one image.
        input: what the layer read.
        output: what it returned; `output_gradient` has its shape.
        preactivation: what the activation read: the output, behind norms if there are any.
        activation: what it returned; `activation_gradient` has its shape.
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
    """All layers in the order in which they ran.

    Args:
        layers: one record each.
        params: numbers that can be trained, of the whole network.
        macs: multiply-adds of the layers for one image; products of tokens are not among them.
        loss: its value.
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
    """Run a copy of the network once forward and once backward, in training mode without dropout.

    The network itself stays as it is: weights, running averages, mode and gradients. Equal seeds give
    equal numbers.

    Args:
        net: any network that maps images to one tensor.
        images: (B C H W), on the device of the network; B at least 2 where it normalises over batches.
        seed: of the targets; read only without a loss.
        loss: of the output; None for random targets.
        activations: whether inputs, outputs and their gradients are kept besides weights.
        positions: at most so many places of every map are kept, evenly spread: (B C P) instead of (B C H W);
            None for all. Weights are always whole.

    Raises:
        UserError: the network has no convolution or linear layer, or returns several tensors.
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
    """A copy in training mode, all of it trainable, without dropout: what proxies may run and change."""
    own = copy.deepcopy(net).train().requires_grad_(True)
    own.zero_grad(set_to_none=True)
    for module in own.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
        if isinstance(module, ResidualBlock):
            module.drop_path = 0.0
    return own


def single(output: object) -> Tensor:
    """The answer without an auxiliary one; UserError for networks that answer anything but one tensor."""
    answer = main_output(output)
    if not isinstance(answer, Tensor):
        raise UserError(
            f"A proxy needs a network that returns one tensor; this one returns {type(answer).__name__}.",
            "Give the part of it that does, such as its backbone with one of its maps.",
        )
    return answer


def _gradients(
    value: Tensor, calls: Sequence[Call], activations: bool
) -> list[tuple[Tensor, Tensor | None, Tensor | None]]:
    """Gradients of each call's weight, output and activation, by one backward."""
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
    """A map at evenly spread places; what has no more of them, or is no map, stays."""
    if positions is None or map.ndim != 4 or map.shape[2:].numel() <= positions:
        return map
    places = map.flatten(2)
    chosen = torch.linspace(0, places.shape[-1] - 1, positions, device=map.device).round().long()
    return places[..., chosen]
