"""Whether the primitives compute here what their references say."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from evonas.ops import backend, dct, ssd
from evonas.ops.dct import reference as dct_reference
from evonas.ops.ssd import reference as ssd_reference
from evonas.randomness import derive


def differences() -> dict[str, float]:
    """The largest absolute difference from the reference, for every `primitive:backend`.

    The reference of the DCT is checked as well, by its inverse.
    """
    draw = torch.Generator().manual_seed(derive(0, "selftest"))
    picture = torch.randn(2, 3, 13, 9, generator=draw)
    arguments = _ssd_arguments(draw)
    found = {"dct:inverse": _distance(dct.idct2(dct.dct2(picture)), picture)}
    found |= _compare("dct", dct.FORWARD, dct.dct2, dct_reference.dct2(picture), picture)
    found |= _compare("ssd", ssd.IMPLEMENTATIONS, ssd.ssd, ssd_reference.ssd(*arguments), *arguments)
    return found


def _compare(
    name: str, known: backend.Implementations, function: Callable[..., Tensor], truth: Tensor, *arguments: Any
) -> dict[str, float]:
    found = {}
    for each in known:
        with backend.use(each):
            found[f"{name}:{each}"] = _distance(function(*arguments), truth)
    return found


def _ssd_arguments(draw: torch.Generator) -> tuple[Tensor, ...]:
    """Odd sizes: 2 items, 37 tokens, 3 heads of 5 channels, 7 states."""
    shapes = [(2, 37, 3, 5), (2, 37, 3), (2, 37, 7), (2, 37, 7), (3,)]
    x, a, b, c, d = (torch.randn(shape, generator=draw) for shape in shapes)
    return x, -a.abs(), b, c, d


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())
