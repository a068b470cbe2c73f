"""Watching a network run, function by function: which layer made a tensor, and which activation reads it.

Functions are watched and not modules, because many networks call activations without one, and an elastic
layer calls its function with a part of its weight.
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
# each is close to zero on one side of zero and to the identity on the other, which is what stands for a ReLU
SMOOTH = frozenset({F.gelu, F.silu, F.mish, F.elu, F.leaky_relu, F.hardswish})
ACTIVATIONS = RELUS | SMOOTH
NORMS = frozenset({F.batch_norm, F.layer_norm, F.group_norm, F.instance_norm})
# what changes no number
_SHAPES = {
    Tensor.permute, Tensor.reshape, Tensor.view, Tensor.flatten, Tensor.transpose, Tensor.contiguous,
    Tensor.unflatten, torch.permute, torch.reshape, torch.flatten, torch.transpose,
}  # fmt: skip
Weights = Mapping[tuple[int, tuple[int, ...]], tuple[str, nn.Parameter]]


@dataclass(eq=False)
class Call:
    """One run of a layer: a convolution or a linear layer.

    Args:
        name: of its weight, as the network calls it.
        kind: convolution, transposed or linear.
        weight: the parameter, of the shape that ran.
        input: what it read.
        output: what it returned.
        preactivation: what the activation behind it read; None without one.
        activation: what that activation returned.
        macs: multiply-adds for one image of the batch.
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
    """A context inside which layers and their activations are noted, in the order in which they run.

    An activation belongs to a layer if it reads its output as it is, through norms, or in another shape. Of a
    layer that runs several times the first run counts. Activations leave their input as it is here, even
    those that were told to work in place.

    Args:
        net: whose layers are wanted.
        gate: called with the input of every activation and with the function.
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
        """Run the function, and note what it did."""
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
        elif func in NORMS or func in _SHAPES:
            self._follow(given, result)

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

    def _follow(self, given: Tensor, result: Tensor) -> None:
        if id(given) in self._origins:
            # the tensor is kept, so that its id stays its own
            self._origins[id(result)] = result, self._origins[id(given)][1]


def weights_of(net: nn.Module) -> Weights:
    """The parameters of two or more axes by place and shape, as functions receive them."""
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
    """Multiply-adds for one image: weights times the places where they are used."""
    if kind == "linear":
        places = result.numel() // weight.shape[0]
    else:
        where = given if kind == "transposed" else result
        places = where[:, 0].numel()
    return weight.numel() * places // max(given.shape[0], 1)
