"""AZ-NAS: what every block of a network does to features and gradients (Lee and Ham, CVPR 2024).

Blocks are those of our spaces (cells, or mixers with their MLPs), and otherwise the parts of the longest
sequence of modules.
Legend: B batch, C channels, P places of all maps, F features.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.cells.cell import Cell
from evonas.nn.residual import ResidualBlock
from evonas.proxies.magnitudes import flops
from evonas.proxies.probe import Probe
from evonas.randomness import derive

_LEAST = 2


@dataclass(frozen=True, eq=False)
class _Passage:
    """What went into a block and what came out, channels first."""

    given: Tensor
    made: Tensor
    channels_last: bool


def az_nas(probe: Probe) -> dict[str, float]:
    """Expressivity, progressivity, trainability and complexity, each better where it is larger.

    Expressivity is the sum over blocks of the entropy of the normalised eigenvalues of the features'
    covariance, progressivity the least increase of it from one block to the next, trainability the mean of
    2 - s - 1/s with the spectral norm s of a block's Jacobian as random signs see it, complexity FLOPs. Where
    a block shrinks its maps, gradients are summed over the places that become one.

    Raises:
        UserError: the network has fewer than two blocks.
    """
    net = probe.copy()
    passages = _passages(net, probe.images)
    entropies = [_entropy(_features(passage.made.detach(), passage)) for passage in passages]
    increases = [after - before for before, after in pairwise(entropies)]
    source = torch.Generator().manual_seed(derive(probe.seed, "proxies/signs"))
    return {
        "expressivity": sum(entropies),
        "progressivity": min(increases),
        "trainability": sum(_trainability(passage, source) for passage in passages) / len(passages),
        "complexity": flops(probe),
    }


def blocks_of(net: nn.Module) -> list[nn.Module]:
    """The blocks of a network in order, at least two of them."""
    found: list[nn.Module] = [module for module in net.modules() if isinstance(module, ResidualBlock | Cell)]
    if len(found) < _LEAST:
        sequences = [list(module) for module in net.modules() if isinstance(module, nn.Sequential)]
        found = max(sequences, key=len, default=[])
    if len(found) < _LEAST:
        raise UserError(
            f"{type(net).__name__} has no sequence of blocks, which AZ-NAS compares.",
            "Choose another proxy, such as nwot.",
        )
    return found


def _passages(net: nn.Module, images: Tensor) -> list[_Passage]:
    """One run, with what every block was given and made."""
    found: list[_Passage] = []

    def note(block: nn.Module, args: tuple[Any, ...], made: Tensor) -> None:
        found.append(_Passage(args[0], made, getattr(block, "channels_last", False)))

    hooks = [block.register_forward_hook(note) for block in blocks_of(net)]
    try:
        # the first block may read the images themselves
        with torch.enable_grad():
            net(images.detach().clone().requires_grad_(True))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _features(maps: Tensor, of: _Passage) -> Tensor:
    """(P C)."""
    last = maps if of.channels_last or maps.ndim < 3 else maps.movedim(1, -1)
    return last.reshape(-1, last.shape[-1])


def _entropy(features: Tensor) -> float:
    """Of the shares that the principal directions have in the variance."""
    centred = (features - features.mean(0)).double()
    values = torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0)
    if not values.sum() > 0:
        return 0.0
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum())


def _trainability(passage: _Passage, source: torch.Generator) -> float:
    """2 - s - 1/s; a block through which no gradient flows has s = 0, which is as bad as it gets."""
    given, made = passage.given, passage.made
    signs = torch.randint(2, made.shape, generator=source).to(made) * 2 - 1
    if not (given.requires_grad and made.requires_grad):
        return _worth(0.0)
    found = torch.autograd.grad(made, given, signs, retain_graph=True, allow_unused=True)[0]
    if found is None:
        return _worth(0.0)
    back, out = _paired(found, signs, passage)
    return _worth(float(torch.linalg.matrix_norm(back.T @ out / len(back), 2)))


def _paired(gradient: Tensor, signs: Tensor, of: _Passage) -> tuple[Tensor, Tensor]:
    """Both at the places of the smaller map: (P C_in) and (P C_out)."""
    if gradient.ndim == 4 and not of.channels_last:
        scale = (gradient.shape[-1] / signs.shape[-1]) ** 2
        gradient = F.adaptive_avg_pool2d(gradient, (signs.shape[-2], signs.shape[-1])) * scale
    return _features(gradient, of), _features(signs, of)


def _worth(norm: float) -> float:
    least = 1e-6
    norm = max(norm, least)
    return 2 - norm - 1 / norm
