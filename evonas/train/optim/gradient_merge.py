"""How the gradients of a step's subnets become one gradient.

A part is what one pass alone would have left in `.grad`, weighted as its loss is; the plain sum of
the parts is what accumulating them gives.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from evonas.errors import UserError
from evonas.randomness import generator

Part = list[Tensor | None]
_TINY = 1e-12


@runtime_checkable
class Merge(Protocol):
    """Makes one gradient of parts; a pure function of the parts, the share of the training and a seed."""

    def combine(self, parts: Sequence[Part], share: float, seed: int) -> Part: ...


class Watched:
    """The plain sum; nothing is changed, but the parts are apart, so that their cosines are logged."""

    def combine(self, parts: Sequence[Part], share: float, seed: int) -> Part:  # noqa: ARG002
        """The sum of the parts."""
        return summed(parts)


class NasVit:
    """The first subnet's gradient gives way where it contradicts the others'.

    For each tensor: g = (1 + a) s + m, m of the first, s of the others together, and
    a = clamp(-<s, m> / |s|^2, 0, 2); an unclamped a makes <g, s> = |s|^2, so that what of m
    contradicts s is gone (NASViT: Gong et al., ICLR 2022).

    Args:
        after: the share of the training during which gradients are summed as they are.
    """

    def __init__(self, after: float = 0.25) -> None:
        if not 0 <= after <= 1:
            raise UserError(f"sampler.merge.after={after} is no share of a training.", "Try 0.25.")
        self.after = after

    def combine(self, parts: Sequence[Part], share: float, seed: int) -> Part:  # noqa: ARG002
        """One gradient."""
        if share < self.after or len(parts) < 2:
            return summed(parts)
        others = summed(parts[1:])
        return [_yielding(first, rest) for first, rest in zip(parts[0], others, strict=True)]


class PcGrad:
    """Each part loses what contradicts another part, over all tensors at once, and then they are summed.

    Parts are compared as they were, in a random order (Yu et al. 2020, arXiv 2001.06782, algorithm 1).
    """

    def combine(self, parts: Sequence[Part], share: float, seed: int) -> Part:  # noqa: ARG002
        """One gradient."""
        cleared: list[Part] = []
        for index, part in enumerate(parts):
            others = [number for number in range(len(parts)) if number != index]
            order = generator(seed, "pcgrad", index).permutation(others).tolist()
            cleared.append(_cleared(part, [parts[number] for number in order]))
        return summed(cleared)


def cosines(parts: Sequence[Part]) -> dict[tuple[int, int], float]:
    """The cosine of the angle between each two parts, over the tensors that both have; 0 where none."""
    return {
        (first, second): _cosine(parts[first], parts[second])
        for first, second in combinations(range(len(parts)), 2)
    }


def summed(parts: Sequence[Part]) -> Part:
    """The sum for each tensor; None where no part has a gradient."""
    found: Part = []
    for column in zip(*parts, strict=True):
        present = [gradient for gradient in column if gradient is not None]
        found.append(torch.stack(present).sum(dim=0) if present else None)
    return found


def inner(first: Part, second: Part) -> Tensor:
    """The inner product over the tensors that both have."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    return sum((torch.dot(a.flatten(), b.flatten()) for a, b in pairs), torch.zeros(()))


def _cosine(first: Part, second: Part) -> float:
    shared = [a is not None and b is not None for a, b in zip(first, second, strict=True)]
    left, right = (
        [gradient if both else None for gradient, both in zip(part, shared, strict=True)]
        for part in (first, second)
    )
    length = (inner(left, left) * inner(right, right)).sqrt()
    return float(inner(left, right) / length.clamp_min(_TINY))


def _yielding(first: Tensor | None, rest: Tensor | None) -> Tensor | None:
    if first is None or rest is None:
        return first if rest is None else rest
    overlap = (first * rest).sum() / rest.square().sum().clamp_min(_TINY)
    return (1 + (-overlap).clamp(0, 2)) * rest + first


def _cleared(part: Part, others: Sequence[Part]) -> Part:
    """A part without what contradicts each of the others in turn."""
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
