"""Subnets run in trie order on the same images; activations of shared prefixes are computed once.

In the order of their paths a sequence of subnets is a depth-first walk of the trie of their paths. Only the
activations along the prefix that a subnet shares with its successor are kept, so memory is that of one path
whatever the number of subnets. Subnets are bound to the supernet's weights and compute the bits of an
extracted network.

Legend: B batch, H W space.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evonas.space.genotype import Genotype
from evonas.supernets.backbone import Activation, Backbone
from evonas.supernets.prefix_statistics import PrefixStatistics
from evonas.supernets.resolution import answer
from evonas.supernets.slices import bind
from evonas.supernets.step import Step
from evonas.supernets.supernet import Supernet


@dataclass(slots=True)
class _Cache:
    """What is kept of one look at some images: the activation behind each step."""

    images: Tensor
    steps: list[Step] = field(default_factory=list)
    reached: list[Activation] = field(default_factory=list)


class PrefixExecutor:
    """Runs subnets of one supernet, in the order of their paths, on the same images.

    A subnet may be called more than once, as a flip test does: its n-th look is compared with the
    n-th look of the subnet before it, and nothing is reused unless the images are equal.

    Args:
        supernet: in eval mode.
        statistics: of batch norms, for subnets that have their own; None for those of the supernet.
    """

    def __init__(self, supernet: Supernet, statistics: PrefixStatistics | None = None) -> None:
        self._supernet, self._statistics = supernet, statistics
        self._caches: dict[int, _Cache] = {}

    @property
    def holds_maps(self) -> bool:
        """Whether memory is spent on what the next subnet may share."""
        return bool(self._caches)

    def forget(self) -> None:
        """Free all activations; the next subnet computes everything anew."""
        self._caches.clear()

    def subnet(self, genotype: Genotype, following: Genotype | None = None) -> Callable[[Tensor], Any]:
        """The subnet as images -> output, to be used before another one is asked for.

        Args:
            following: the subnet that comes next; what it shares with this one is kept.
        """
        family = self._supernet.family
        backbone, head = bind(family, self._supernet.backbone, genotype), self._supernet.head
        kept = 0 if following is None else shared_length(backbone.path, family.path(following))
        looks = iter(range(2**31))

        def net(images: Tensor) -> Any:
            levels = self._levels(images, backbone, next(looks), kept)
            return self._run(
                (head,), backbone.path, lambda: answer(head, levels, backbone, images.shape[-2:])
            )

        return net

    def _run(self, parts: Sequence[nn.Module], steps: Sequence[Step], call: Callable[[], Any]) -> Any:
        """What some modules compute behind some steps."""
        if self._statistics is None:
            return call()
        return self._statistics.run(parts, tuple(steps), call)

    def _levels(
        self, images: Float[Tensor, "B 3 H W"], backbone: Backbone, look: int, kept: int
    ) -> list[Tensor]:
        cache, path = self._cache(images, look), backbone.path
        common = shared_length(cache.steps, path)
        del cache.steps[common:], cache.reached[common:]
        if kept:
            self._caches[look] = cache
        else:
            self._caches.pop(look, None)
        at = cache.reached[-1] if common else backbone.begin(images)
        for index in range(common, len(path)):
            at = self._step(backbone, index, at)
            if index < kept:
                cache.steps.append(path[index])
                cache.reached.append(at)
        return list(at.levels)

    def _step(self, backbone: Backbone, index: int, at: Activation) -> Activation:
        reached: Activation = self._run(
            backbone.parts(index), backbone.path[: index + 1], lambda: backbone.run(index, at)
        )
        return reached

    def _cache(self, images: Tensor, look: int) -> _Cache:
        before = self._caches.get(look)
        if before is not None and torch.equal(before.images, images):
            return before
        return _Cache(images)


def shared_length(one: Sequence[Step], other: Sequence[Step]) -> int:
    """How many steps two paths have in common from the start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
