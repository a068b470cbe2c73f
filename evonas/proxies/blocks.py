"""AZ-NAS (Lee and Ham, CVPR 2024): statistics of the features and gradients of each block.

Blocks are cells or residual blocks, and in other networks the elements of the longest sequence of modules.
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
class _BlockCall:
    """Input and output of a block, channels first."""

    given: Tensor
    made: Tensor
    channels_last: bool


def az_nas(probe: Probe) -> dict[str, float]:
    """Expressivity, progressivity, trainability and complexity; larger is better.

    Expressivity is the sum over blocks of the entropy of the normalised eigenvalues of the feature covariance,
    progressivity the minimum increase of this entropy between blocks, trainability the mean of 2 - s - 1/s with the
    spectral norm s of a block's Jacobian, estimated with random signs, and complexity the FLOPs. If a block
    downsamples, gradients are summed over the positions of a cell.

    Raises:
        UserError: the network has fewer than two blocks.
    """
    net = probe.copy()
    calls = _calls(net, probe.images)
    entropies = [_entropy(_features(call.made.detach(), call)) for call in calls]
    increases = [after - before for before, after in pairwise(entropies)]
    source = torch.Generator().manual_seed(derive(probe.seed, "proxies/signs"))
    return {
        "expressivity": sum(entropies),
        "progressivity": min(increases),
        "trainability": sum(_trainability(call, source) for call in calls) / len(calls),
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
            f"AZ-NAS needs a sequence of blocks, which {type(net).__name__} does not have.",
            "Choose another proxy, such as nwot.",
        )
    return found


def _calls(net: nn.Module, images: Tensor) -> list[_BlockCall]:
    """Input and output of every block in one forward pass."""
    found: list[_BlockCall] = []

    def note(block: nn.Module, args: tuple[Any, ...], made: Tensor) -> None:
        found.append(_BlockCall(args[0], made, getattr(block, "channels_last", False)))

    hooks = [block.register_forward_hook(note) for block in blocks_of(net)]
    try:
        # the input of the first block may be the images, which need no gradient
        with torch.enable_grad():
            net(images.detach().clone().requires_grad_(True))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _features(maps: Tensor, of: _BlockCall) -> Tensor:
    """(P C)."""
    last = maps if of.channels_last or maps.ndim < 3 else maps.movedim(1, -1)
    return last.reshape(-1, last.shape[-1])


def _entropy(features: Tensor) -> float:
    """The entropy of the normalised eigenvalues of the covariance."""
    centred = (features - features.mean(0)).double()
    values = torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0)
    if not values.sum() > 0:
        return 0.0
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum())


def _trainability(call: _BlockCall, source: torch.Generator) -> float:
    """2 - s - 1/s; without gradient s = 0, the worst value."""
    given, made = call.given, call.made
    signs = torch.randint(2, made.shape, generator=source).to(made) * 2 - 1
    if not (given.requires_grad and made.requires_grad):
        return _score(0.0)
    found = torch.autograd.grad(made, given, signs, retain_graph=True, allow_unused=True)[0]
    if found is None:
        return _score(0.0)
    back, out = _paired(found, signs, call)
    return _score(float(torch.linalg.matrix_norm(back.T @ out / len(back), 2)))


def _paired(gradient: Tensor, signs: Tensor, of: _BlockCall) -> tuple[Tensor, Tensor]:
    """Gradients and signs at the positions of the smaller map, (P C_in) and (P C_out)."""
    if gradient.ndim == 4 and not of.channels_last:
        scale = (gradient.shape[-1] / signs.shape[-1]) ** 2
        gradient = F.adaptive_avg_pool2d(gradient, (signs.shape[-2], signs.shape[-1])) * scale
    return _features(gradient, of), _features(signs, of)


def _score(norm: float) -> float:
    norm = max(norm, 1e-6)
    return 2 - norm - 1 / norm
