"""Weight initialisation as a function of a seed."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

_LINEAR = (nn.Linear,)
_CONVOLUTION = (nn.Conv2d, nn.ConvTranspose2d)
_NORM = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)


class Drawn(Protocol):
    """A module that initialises its own parameters, without those of its children."""

    def draw_weights(self, generator: torch.Generator) -> None: ...


@contextmanager
def uninitialised(network: nn.Module, seed: int | None) -> Iterator[None]:
    """Builds parts of `network` on the meta device, then allocates them on the CPU.

    Args:
        network: the network that is built inside the context.
        seed: seed of its weights; None leaves them uninitialised, to be loaded.
    """
    with torch.device("meta"):
        yield
    network.to_empty(device="cpu")
    if seed is not None:
        # the network may be built inside the meta-device context of another one
        with torch.device("cpu"):
            initialise(network, seed)


def initialise(network: nn.Module, seed: int) -> None:
    """Initialises all weights on the CPU, without using the global generator.

    Linear layers: normal with deviation 0.02 truncated at 2, zero bias. Convolutions: uniform within
    1 / sqrt(fan in). Norms: one and zero. Modules with other parameters need a method `draw_weights(generator)`, or,
    where their class is not ours, an attribute `initial_values`: by name of parameter its mean and deviation.

    Raises:
        TypeError: no rule applies to a module's parameters.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, module in network.named_modules():
            _initialise(name, module, generator)


def drawn_values(network: nn.Module) -> Iterator[tuple[str, float, float]]:
    """(name, mean, deviation) of the parameters that no rule initialises, such as layer scales, as they are now."""
    for prefix, module in network.named_modules():
        plain = ("weight", "bias") if isinstance(module, (*_LINEAR, *_CONVOLUTION, *_NORM)) else ()
        for key, tensor in module.named_parameters(recurse=False):
            if key not in plain:
                name, first = f"{prefix}.{key}" if prefix else key, tensor.detach().flatten()[0].item()
                if bool((tensor == first).all()):
                    yield name, round(first, 8), 0.0
                else:
                    yield name, 0.0, float(f"{tensor.detach().std().item():.1g}")


def initialise_foreign(network: nn.Module, seed: int) -> None:
    """Like `initialise`, for somebody else's network: parameters without a rule keep the distribution they have now."""
    keep_values(network, drawn_values(network))
    initialise(network, seed)


def keep_values(network: nn.Module, values: Iterable[tuple[str, float, float]]) -> None:
    """Let `initialise` draw parameters that have no rule from given values, see `drawn_values`."""
    for name, mean, deviation in values:
        owner, _, key = name.rpartition(".")
        module: Any = network.get_submodule(owner)
        module.initial_values = {**getattr(module, "initial_values", {}), key: (mean, deviation)}


def _initialise(name: str, module: Any, generator: torch.Generator) -> None:
    values: Mapping[str, tuple[float, float]] = getattr(module, "initial_values", {})
    for key, (mean, deviation) in values.items():
        getattr(module, key).normal_(mean, deviation, generator=generator)
    if hasattr(module, "draw_weights"):
        module.draw_weights(generator)
    elif isinstance(module, _LINEAR):
        draw_linear(module, generator)
    elif isinstance(module, _CONVOLUTION):
        uniform_by_fan_in(module.weight, module.weight[0].numel(), generator)
        if module.bias is not None:
            uniform_by_fan_in(module.bias, module.weight[0].numel(), generator)
    elif isinstance(module, _NORM):
        module.reset_parameters()
    elif any(key not in values for key, _ in module.named_parameters(recurse=False)):
        raise TypeError(
            f"{name or 'the network'} ({type(module).__name__}) has parameters without an initialisation: "
            "add a method draw_weights(generator)."
        )


def draw_linear(layer: nn.Linear, generator: torch.Generator) -> None:
    """Initialises a linear layer in place: see `initialise`."""
    nn.init.trunc_normal_(layer.weight, std=0.02, a=-2.0, b=2.0, generator=generator)
    if layer.bias is not None:
        layer.bias.zero_()


def uniform_by_fan_in(tensor: Tensor, fan_in: int, generator: torch.Generator) -> None:
    """Samples a tensor uniformly within 1 / sqrt(fan in), in place."""
    bound = 1 / math.sqrt(fan_in)
    tensor.uniform_(-bound, bound, generator=generator)


def step_sizes(count: int, generator: torch.Generator) -> Tensor:
    """Step sizes of state space models, log-uniform in [1e-3, 1e-1] (Mamba, arXiv 2312.00752)."""
    low, high = math.log(1e-3), math.log(1e-1)
    return torch.empty(count).uniform_(low, high, generator=generator).exp_().clamp_(min=1e-4)


def inverse_softplus(y: Tensor) -> Tensor:
    """The x with softplus(x) = y."""
    # log(exp(y) - 1), numerically stable for small y
    return y + torch.log(-torch.expm1(-y))
