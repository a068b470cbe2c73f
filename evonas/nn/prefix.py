"""Subnets that begin alike, run one after the other on the same images: what they share is computed once.

In the order of `space.evonet.path` a sequence of subnets is a depth-first walk of the trie of
their paths. Only the maps along the beginning that a subnet shares with its successor are kept,
so memory is that of one path whatever the number of subnets. Blocks are slices of the supernet,
which compute the bits of an extracted network.

Legend: B batch, H W space, D width of a stage.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from evonas.nn.supernet import Supernet
from evonas.nn.trunk import Stage, Trunk
from evonas.space.evonet import Architecture, Node, path


@dataclass(frozen=True, slots=True)
class Reached:
    """How far some images have come: their map B H W D, and the levels that lie behind it."""

    tokens: Tensor
    levels: tuple[Tensor, ...] = ()


@dataclass(slots=True)
class _Trail:
    """What is kept of one look at some images: where each step led; the stem is the step before the first."""

    images: Tensor
    start: Reached
    nodes: list[Node] = field(default_factory=list)
    reached: list[Reached] = field(default_factory=list)


class Walk:
    """Runs subnets of one supernet, in the order of their paths, on the same images.

    A subnet may be called more than once, as a flip test does: its n-th look is compared with the
    n-th look of the subnet before it, and nothing is reused unless the images are equal.

    Args:
        supernet: in eval mode; statistics of batch norms that are a subnet's own cannot be shared.
    """

    def __init__(self, supernet: Supernet) -> None:
        self._supernet = supernet
        self._trails: dict[int, _Trail] = {}

    @property
    def holds_maps(self) -> bool:
        """Whether memory is spent on what the next subnet may share."""
        return bool(self._trails)

    def forget(self) -> None:
        """Free all maps; the next subnet computes everything anew."""
        self._trails.clear()

    def subnet(
        self, architecture: Architecture, following: Architecture | None = None
    ) -> Callable[[Tensor], Tensor]:
        """The subnet as images -> output, to be used before another one is asked for.

        Args:
            following: the subnet that comes next; what it shares with this one is kept.
        """
        kept = 0 if following is None else 1 + shared_length(path(architecture), path(following))
        looks = iter(range(2**31))
        return lambda images: self._supernet.head(self._levels(images, architecture, next(looks), kept))

    def _levels(
        self, images: Float[Tensor, "B 3 H W"], architecture: Architecture, look: int, kept: int
    ) -> list[Tensor]:
        trunk, nodes = self._supernet.backbone, path(architecture)
        trail = self._trail(images, look)
        common = shared_length(trail.nodes, nodes)
        del trail.nodes[common:], trail.reached[common:]
        if kept:
            self._trails[look] = trail
        else:
            self._trails.pop(look, None)
        at = trail.reached[-1] if common else trail.start
        for depth, node in enumerate(nodes[common:], start=common + 1):
            at = _step(trunk, architecture, at, node)
            if depth < kept:
                trail.nodes.append(node)
                trail.reached.append(at)
        return list(at.levels)

    def _trail(self, images: Tensor, look: int) -> _Trail:
        before = self._trails.get(look)
        if before is not None and torch.equal(before.images, images):
            return before
        stem = self._supernet.backbone.stem(images.contiguous(memory_format=torch.channels_last))
        return _Trail(images, Reached(stem.permute(0, 2, 3, 1)))


def shared_length(one: Sequence[Node], other: Sequence[Node]) -> int:
    """How many steps two paths have in common from the start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _step(trunk: Trunk, architecture: Architecture, at: Reached, node: Node) -> Reached:
    """One block further, or out of a stage: to its level and through the merge."""
    index, place = int(node[0]), int(node[1])
    stage, choice = cast(Stage, trunk.stages[index]), architecture.stages[index]
    if place < len(choice.blocks):
        return Reached(stage.blocks[str(place)](at.tokens, choice), at.levels)
    levels = (*at.levels, stage.norm(at.tokens).permute(0, 3, 1, 2))
    if index == len(trunk.merges):
        return Reached(at.tokens, levels)
    return Reached(trunk.merges[index](at.tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), levels)
