"""Recording of layers and activations during a forward pass, at the level of torch functions.

Functions are recorded instead of modules, since many networks call functional activations and elastic layers use
slices of their weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS = {torch.conv1d, torch.conv2d, torch.conv3d}
_TRANSPOSED = {torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d}
_LINEAR = {F.linear}
RELUS = frozenset({F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu6})
# activations that approximate ReLU: near zero for negative and near the identity for positive inputs
SMOOTH = frozenset({F.gelu, F.silu, F.mish, F.elu, F.leaky_relu, F.hardswish})
ACTIVATIONS = RELUS | SMOOTH
NORMS = frozenset({F.batch_norm, F.layer_norm, F.group_norm, F.instance_norm})
# functions that keep all values
_SHAPES = {
    Tensor.permute, Tensor.reshape, Tensor.view, Tensor.flatten, Tensor.transpose, Tensor.contiguous,
    Tensor.unflatten, torch.permute, torch.reshape, torch.flatten, torch.transpose,
}  # fmt: skip
Weights = Mapping[tuple[int, tuple[int, ...]], tuple[str, nn.Parameter]]


@dataclass(eq=False)
class Call:
    """One call of a convolution or linear layer.

    Args:
        name: name of its weight in the network.
        kind: convolution, transposed or linear.
        weight: the parameter, with the shape in use.
        input: input of the layer.
        output: output of the layer.
        preactivation: input of the following activation, or None.
        activation: output of this activation.
        macs: multiply-adds per image.
    """

    name: str
    kind: str
    weight: nn.Parameter
    input: Tensor
    output: Tensor
    preactivation: Tensor | None = None
    activation: Tensor | None = None
    macs: int = 0


class Recorder(TorchFunctionMode):
    """Context that records layers and their activations in execution order.

    An activation belongs to a layer if its input is the layer's output, directly, after norms or reshaped. Only the
    first call of a layer counts. In-place activations run out of place.

    Args:
        net: the network whose layers are recorded.
        gate: called with the input of every activation and its function.
    """

    def __init__(self, net: nn.Module, gate: Callable[[Tensor, Any], None] | None = None) -> None:
        super().__init__()
        self._weights = weights_of(net)
        self._gate = gate
        self._origins: dict[int, tuple[Tensor, Call]] = {}
        self.calls: dict[str, Call] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs and records a function."""
        del types
        kwargs = dict(kwargs or {})
        if func in ACTIVATIONS and "inplace" in kwargs:
            kwargs["inplace"] = False
        if func in (torch.relu_, Tensor.relu_):
            func = torch.relu
        result = func(*args, **kwargs)
        given = args[0] if args else kwargs.get("input")
        if isinstance(given, Tensor) and isinstance(result, Tensor):
            self._note(func, given, args[1] if len(args) > 1 else kwargs.get("weight"), result)
        return result

    def _note(self, func: Any, given: Tensor, second: Any, result: Tensor) -> None:
        kind = _kind(func)
        if kind and isinstance(second, Tensor):
            self._note_layer(kind, given, second, result)
        elif func in ACTIVATIONS:
            self._note_activation(func, given, result)
        elif (func in NORMS or func in _SHAPES) and id(given) in self._origins:
            # the reference keeps the tensor's id unique
            self._origins[id(result)] = result, self._origins[id(given)][1]

    def _note_layer(self, kind: str, given: Tensor, weight: Tensor, result: Tensor) -> None:
        found = self._weights.get((weight.data_ptr(), tuple(weight.shape)))
        if found is None or found[0] in self.calls:
            return
        call = Call(*found[:1], kind, found[1], given, result, macs=_macs(kind, weight, given, result))
        self.calls[call.name] = call
        self._origins[id(result)] = result, call

    def _note_activation(self, func: Any, given: Tensor, result: Tensor) -> None:
        if self._gate is not None:
            self._gate(given, func)
        _, call = self._origins.get(id(given), (given, None))
        if call is not None and call.activation is None:
            call.preactivation, call.activation = given, result


def weights_of(net: nn.Module) -> Weights:
    """Parameters with at least two dimensions, by storage location and shape."""
    return {
        (parameter.data_ptr(), tuple(parameter.shape)): (name.removesuffix(".weight"), parameter)
        for name, parameter in net.named_parameters()
        if parameter.ndim > 1
    }


def _kind(func: Any) -> str:
    if func in _CONVOLUTIONS:
        return "convolution"
    if func in _TRANSPOSED:
        return "transposed"
    return "linear" if func in _LINEAR else ""


def _macs(kind: str, weight: Tensor, given: Tensor, result: Tensor) -> int:
    """Multiply-adds per image: weights times the positions at which they apply."""
    if kind == "linear":
        places = result.numel() // weight.shape[0]
    else:
        where = given if kind == "transposed" else result
        places = where[:, 0].numel()
    return weight.numel() * places // max(given.shape[0], 1)
