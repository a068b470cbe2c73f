"""Gradient averaging over ranks, once per optimizer step.

Every rank accumulates gradients of the k subnets on its own images. All ranks sample the same subnets, so the same
parameters have gradients on every rank; AdamW skips those without, as on one rank.
"""

import math
from collections.abc import Iterable
from typing import Literal

import torch
import torch.distributed as dist
from timm.utils import dispatch_clip_grad
from torch import Tensor, nn

ClipMode = Literal["norm", "value", "agc"]


def world_size() -> int:
    """The number of ranks that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@torch.no_grad()
def average(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces gradients by their mean over ranks, with one all-reduce per dtype."""
    world = world_size()
    if world == 1:
        return
    found: dict[torch.dtype, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            found.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in found.values():
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= world
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def mean_over_ranks(value: Tensor) -> float:
    """The mean of a scalar over all ranks."""
    if world_size() == 1:
        return float(value)
    shared = value.detach().clone()
    dist.all_reduce(shared)
    return float(shared) / world_size()


def taken(parameters: Iterable[nn.Parameter]) -> list[Tensor | None]:
    """Returns the gradients and sets those of the parameters to None."""
    found = []
    for parameter in parameters:
        found.append(parameter.grad)
        parameter.grad = None
    return found


def put(parameters: Iterable[nn.Parameter], found: Iterable[Tensor | None]) -> None:
    """Sets the gradients of parameters."""
    for parameter, gradient in zip(parameters, found, strict=True):
        parameter.grad = gradient


def clip(
    parameters: Iterable[nn.Parameter], limit: float, scale: float = 1.0, mode: ClipMode = "norm"
) -> None:
    """Clips gradients in place; a limit of 0 does nothing.

    Args:
        parameters: those without a gradient are ignored.
        limit: of unscaled gradients: the norm of all (`norm`), each value (`value`), or the norm of each unit as a
            share of the norm of its weights (`agc`, adaptive gradient clipping, Brock et al., arXiv 2102.06171;
            of all layers, the classifier included).
        scale: factor of the loss scaler, which the gradients still contain.
        mode: see `limit`.
    """
    if limit > 0 and math.isfinite(scale):
        found = [parameter for parameter in parameters if parameter.grad is not None]
        dispatch_clip_grad(found, limit * scale, mode)


@torch.no_grad()
def share_state(module: nn.Module) -> None:
    """Broadcasts parameters and buffers of rank 0."""
    for tensor in (*module.parameters(), *module.buffers()):
        dist.broadcast(tensor.data, src=0)
