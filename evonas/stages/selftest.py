"""Compares the backends of all primitives on this machine with their references."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from evonas.ops import backend, causal_ssd, dct, depthwise_silu, dilated, native, scan, ssd, triton
from evonas.randomness import derive


def differences() -> dict[str, float]:
    """The largest absolute difference from the reference, for every `primitive:backend`.

    Compiled kernels are compared if they are built, Triton's if there is a GPU. The reference of the DCT is checked
    by its inverse.
    """
    draw = torch.Generator().manual_seed(derive(0, "selftest"))
    picture = torch.randn(2, 3, 13, 9, generator=draw)
    found = {"dct:inverse": _distance(dct.idct2(dct.dct2(picture)), picture)}
    found |= _compare("dct", [*dct.FORWARD], dct.dct2, picture)
    for name, (known, function, operands) in _compiled(draw, picture).items():
        compiled = ["native"] if native.is_built() else []
        found |= _compare(name, [*compiled, *known], function, *operands)
        if triton.is_installed() and torch.cuda.is_available():
            found |= _compare(name, ["triton"], function, *(each.cuda() for each in operands))
    return found


def _compiled(
    draw: torch.Generator, picture: Tensor
) -> dict[str, tuple[backend.Implementations, Callable[..., Tensor], tuple[Tensor, ...]]]:
    """The primitives with kernels: their implementations, the dispatching function, and operands."""
    kernels, alpha = torch.randn(3, 3, 3, 3, generator=draw), torch.randn(3, generator=draw)
    local = tuple(torch.randn(shape, generator=draw) for shape in [(2, 9, 7, 27), (27, 1, 3, 3), (27,)])
    return {
        "ssd": (ssd.IMPLEMENTATIONS, ssd.ssd, _ssd_arguments(draw)),
        "scan": (scan.IMPLEMENTATIONS, scan.scan, _scan_arguments(draw)),
        "dilated": (dilated.IMPLEMENTATIONS, dilated.dilated, (picture, kernels, alpha)),
        "causal_ssd": (causal_ssd.IMPLEMENTATIONS, causal_ssd.causal_ssd, _causal_arguments(draw)),
        "depthwise_silu": (depthwise_silu.IMPLEMENTATIONS, depthwise_silu.depthwise_silu, local),
    }


@torch.no_grad()
def _compare(
    name: str, backends: list[str], function: Callable[..., Tensor], *arguments: Any
) -> dict[str, float]:
    with backend.use("reference"):
        truth = function(*arguments)
    found = {}
    for each in backends:
        with backend.use(each):
            found[f"{name}:{each}"] = _distance(function(*arguments), truth)
    return found


def _ssd_arguments(draw: torch.Generator) -> tuple[Tensor, ...]:
    """Odd sizes: 2 items, 37 tokens, 3 heads of 5 channels, 7 states."""
    shapes = [(2, 37, 3, 5), (2, 37, 3), (2, 37, 7), (2, 37, 7), (3,)]
    x, a, b, c, d = (torch.randn(shape, generator=draw) for shape in shapes)
    return x, -a.abs(), b, c, d


def _causal_arguments(draw: torch.Generator) -> tuple[Tensor, ...]:
    """As those of `ssd`, with steps that are positive and rates that are negative."""
    x, weights, b, c, d = _ssd_arguments(draw)
    return x, -weights, -torch.randn(3, generator=draw).abs(), b, c, d


def _scan_arguments(draw: torch.Generator) -> tuple[Tensor, ...]:
    """Odd sizes: 2 items, 37 tokens, 11 channels; steps are positive, rates negative."""
    x, steps = (torch.randn(2, 37, 11, generator=draw) for _ in range(2))
    return x, steps.abs(), -torch.randn(11, generator=draw).abs(), torch.randn(2, 37, generator=draw)


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())
