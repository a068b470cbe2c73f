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
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.prefix_statistics import PrefixStatistics
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
        supernet: in eval mode.
        statistics: of batch norms, for subnets that have their own; None for those of the supernet.
    """

    def __init__(self, supernet: Supernet, statistics: PrefixStatistics | None = None) -> None:
        self._supernet, self._statistics = supernet, statistics
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
        looks, head, whole = iter(range(2**31)), self._supernet.head, path(architecture)
        return lambda images: self._run(head, whole, self._levels(images, architecture, next(looks), kept))

    def _run(self, part: nn.Module, nodes: Sequence[Node], *inputs: Any) -> Any:
        """A part that some steps lead to."""
        if self._statistics is None:
            return part(*inputs)
        return self._statistics.run(part, (id(part), tuple(nodes)), *inputs)

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
            at = self._step(trunk, architecture, at, nodes[:depth])
            if depth < kept:
                trail.nodes.append(node)
                trail.reached.append(at)
        return list(at.levels)

    def _trail(self, images: Tensor, look: int) -> _Trail:
        before = self._trails.get(look)
        if before is not None and torch.equal(before.images, images):
            return before
        stem = self._supernet.backbone.stem
        found = self._run(stem, (), images.contiguous(memory_format=torch.channels_last))
        return _Trail(images, Reached(found.permute(0, 2, 3, 1)))

    def _step(self, trunk: Trunk, architecture: Architecture, at: Reached, nodes: Sequence[Node]) -> Reached:
        """The last of the steps so far: one block further, or out of a stage, to its level and the merge."""
        index, place = int(nodes[-1][0]), int(nodes[-1][1])
        stage, choice = cast(Stage, trunk.stages[index]), architecture.stages[index]
        if place < len(choice.blocks):
            block = stage.blocks[str(place)]
            return Reached(self._run(block, nodes, at.tokens, choice), at.levels)
        levels = (*at.levels, stage.norm(at.tokens).permute(0, 3, 1, 2))
        if index == len(trunk.merges):
            return Reached(at.tokens, levels)
        merged = self._run(trunk.merges[index], nodes, at.tokens.permute(0, 3, 1, 2))
        return Reached(merged.permute(0, 2, 3, 1), levels)


def shared_length(one: Sequence[Node], other: Sequence[Node]) -> int:
    """How many steps two paths have in common from the start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
