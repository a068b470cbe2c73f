"""SynFlow: the synaptic flow of a network with absolute weights, as a logarithm.

Tanaka et al. (NeurIPS 2020), algorithm 1: R = 1' |W_L| ... |W_1| 1, and the score is the sum of |w dR/dw|.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from evonas.errors import InfeasibleError
from evonas.proxies.probe import Probe
from evonas.proxies.record import ACTIVATIONS, NORMS, weights_of
from evonas.proxies.statistics import single

# factors of inputs and output gradients; activations of deep networks with positive weights may overflow
_SIZES = (1.0, 1e-150, 1e-300)


def synflow(probe: Probe) -> float:
    """The logarithm of the sum of |w dR/dw| over all weights, in double precision.

    Norms are identities, biases are zero, and all activations are ReLU, so the flow of a convolutional network is
    proportional to its input: if it overflows, a smaller input gives the same score after rescaling.

    Raises:
        ValueError: the flow is zero, or overflows for every input.
    """
    net = _positive(probe.copy())
    ones = torch.ones_like(probe.images[:1], dtype=torch.float64)
    for size in _SIZES:
        flow = _flow(net, ones * size, size)
        if 0 < flow < math.inf:
            return math.log(flow) - 2 * math.log(size)
        if flow == 0:
            break
    raise InfeasibleError("SynFlow finds no finite flow from the input to the output")


class _Linearised(TorchFunctionMode):
    """Context in which norms are identities and all activations are ReLU."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        if func in NORMS:
            return args[0]
        if func in ACTIVATIONS:
            return torch.relu(args[0])
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def _positive(net: nn.Module) -> nn.Module:
    """The network with absolute weights and without biases, in double precision."""
    net = net.double().eval()
    for name, parameter in net.named_parameters():
        if parameter.ndim > 1:
            parameter.abs_()
        elif name.rpartition(".")[2] == "bias":
            parameter.zero_()
    return net


def _flow(net: nn.Module, image: Tensor, size: float) -> float:
    """The sum of |w dR/dw| for an image and an output gradient of `size`; infinite if it overflows."""
    weights = [parameter for _, parameter in weights_of(net).values()]
    with torch.enable_grad(), _Linearised():
        output = single(net(image)).sum()
    gradients = torch.autograd.grad(output, weights, torch.full_like(output, size), allow_unused=True)
    parts = [(w.detach() * g).abs().sum() for w, g in zip(weights, gradients, strict=True) if g is not None]
    found = float(torch.stack(parts).sum()) if parts else 0.0
    return math.inf if math.isnan(found) else found
