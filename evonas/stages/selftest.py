"""Whether the primitives compute here what their references say."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from evonas.ops import backend, dct, dilated, native, scan, ssd
from evonas.randomness import derive


def differences() -> dict[str, float]:
    """The largest absolute difference from the reference, for every `primitive:backend`.

    The reference of the DCT is checked as well, by its inverse.
    """
    draw = torch.Generator().manual_seed(derive(0, "selftest"))
    picture = torch.randn(2, 3, 13, 9, generator=draw)
    found = {"dct:inverse": _distance(dct.idct2(dct.dct2(picture)), picture)}
    found |= _compare("dct", [*dct.FORWARD], dct.dct2, picture)
    compiled = ["native"] if native.is_built() else []
    found |= _compare("ssd", [*compiled, *ssd.IMPLEMENTATIONS], ssd.ssd, *_ssd_arguments(draw))
    found |= _compare("scan", [*compiled, *scan.IMPLEMENTATIONS], scan.scan, *_scan_arguments(draw))
    kernels, alpha = torch.randn(3, 3, 3, 3, generator=draw), torch.randn(3, generator=draw)
    names = [*compiled, *dilated.IMPLEMENTATIONS]
    return found | _compare("dilated", names, dilated.dilated, picture, kernels, alpha)


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


def _scan_arguments(draw: torch.Generator) -> tuple[Tensor, ...]:
    """Odd sizes: 2 items, 37 tokens, 11 channels; steps are positive, rates negative."""
    x, steps = (torch.randn(2, 37, 11, generator=draw) for _ in range(2))
    return x, steps.abs(), -torch.randn(11, generator=draw).abs(), torch.randn(2, 37, generator=draw)


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())
