"""Combination of the gradients of an optimizer step's subnets, with conflict resolution.

The gradients of a subnet are those of its weighted loss, one tensor (or None) per parameter. Their sum over subnets
equals ordinary gradient accumulation.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from evonas.errors import UserError
from evonas.randomness import generator

Gradients = list[Tensor | None]
_TINY = 1e-12


@runtime_checkable
class Merge(Protocol):
    """Combines the gradients of several subnets."""

    def combine(self, parts: Sequence[Gradients], share: float, seed: int) -> Gradients:
        """The combined gradients; a pure function of its arguments.

        Args:
            parts: gradients of each subnet.
            share: finished share of the training, in [0, 1].
            seed: seed of this step.
        """
        ...


class MonitoredSum:
    """Sums gradients, but keeps those of each subnet apart, so that their cosines are logged."""

    def combine(self, parts: Sequence[Gradients], share: float, seed: int) -> Gradients:  # noqa: ARG002
        """The sum of the gradients."""
        return summed(parts)


class NasVit:
    """Resolves conflicts between the first subnet's gradient and those of the others (NASViT: Gong et al., ICLR 2022).

    For each tensor g = (1 + a) s + m, with the gradient m of the first subnet, the sum s of the others, and
    a = clamp(-<s, m> / |s|^2, 0, 2). Without clamping <g, s> = |s|^2: the conflicting component of m is removed.

    Args:
        after: share of the training during which gradients are only summed, in [0, 1].

    Raises:
        UserError: after is outside [0, 1].
    """

    def __init__(self, after: float = 0.25) -> None:
        if not 0 <= after <= 1:
            raise UserError(f"sampler.merge.after must be in [0, 1], got {after}.", "Try 0.25.")
        self.after = after

    def combine(self, parts: Sequence[Gradients], share: float, seed: int) -> Gradients:  # noqa: ARG002
        """The combined gradients."""
        if share < self.after or len(parts) < 2:
            return summed(parts)
        others = summed(parts[1:])
        combined: Gradients = []
        for first, rest in zip(parts[0], others, strict=True):
            if first is None or rest is None:
                combined.append(first if rest is None else rest)
                continue
            overlap = (first * rest).sum() / rest.square().sum().clamp_min(_TINY)
            combined.append((1 + (-overlap).clamp(0, 2)) * rest + first)
        return combined


class PcGrad:
    """Projects conflicting components off each gradient, then sums (Yu et al. 2020, arXiv 2001.06782, algorithm 1).

    The gradient of a subnet is one vector over all tensors; it is compared with the original gradients of the
    others in random order.
    """

    def combine(self, parts: Sequence[Gradients], share: float, seed: int) -> Gradients:  # noqa: ARG002
        """The combined gradients."""
        projected: list[Gradients] = []
        for index, part in enumerate(parts):
            others = [number for number in range(len(parts)) if number != index]
            order = generator(seed, "pcgrad", index).permutation(others).tolist()
            projected.append(_without_conflicts(part, [parts[number] for number in order]))
        return summed(projected)


def cosines(parts: Sequence[Gradients]) -> dict[tuple[int, int], float]:
    """The cosine between the gradients of each pair of subnets, over tensors that both have; 0 without any."""
    return {
        (first, second): _cosine(parts[first], parts[second])
        for first, second in combinations(range(len(parts)), 2)
    }


def summed(parts: Sequence[Gradients]) -> Gradients:
    """The sum of gradients per tensor; None where no subnet has a gradient."""
    found: Gradients = []
    for column in zip(*parts, strict=True):
        present = [gradient for gradient in column if gradient is not None]
        found.append(torch.stack(present).sum(dim=0) if present else None)
    return found


def inner(first: Gradients, second: Gradients) -> Tensor:
    """The inner product over tensors that both have."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    return sum((torch.dot(a.flatten(), b.flatten()) for a, b in pairs), torch.zeros(()))


def _cosine(first: Gradients, second: Gradients) -> float:
    shared = [a is not None and b is not None for a, b in zip(first, second, strict=True)]
    left, right = (
        [gradient if both else None for gradient, both in zip(part, shared, strict=True)]
        for part in (first, second)
    )
    length = (inner(left, left) * inner(right, right)).sqrt()
    return float(inner(left, right) / length.clamp_min(_TINY))


def _without_conflicts(part: Gradients, others: Sequence[Gradients]) -> Gradients:
    """A gradient without its components that conflict with each of the others in turn."""
    for other in others:
        overlap = inner(part, other)
        if overlap >= 0:
            continue
        share = overlap / inner(other, other).clamp_min(_TINY)
        part = [
            own if own is None or theirs is None else own - share * theirs
            for own, theirs in zip(part, other, strict=True)
        ]
    return part
