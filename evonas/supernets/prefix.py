"""Prefix sharing: runs subnets in trie order on the same images and reuses activations of shared prefixes.

Subnets sorted by path are a depth-first traversal of the trie of their paths. Only activations of the prefix that a
subnet shares with its successor are kept, so memory is that of one path for any number of subnets. Subnets are bound
to the supernet's weights and compute the same bits as extracted networks.

Legend: B batch, H W space.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evonas.space.genotype import Genotype
from evonas.supernets.backbone import Activation, Backbone
from evonas.supernets.base import level_channels
from evonas.supernets.elastic_head import subnet_head
from evonas.supernets.prefix_statistics import PrefixStatistics
from evonas.supernets.resolution import head_output
from evonas.supernets.slices import bind
from evonas.supernets.step import Step
from evonas.supernets.supernet import Supernet


@dataclass(slots=True)
class _Cache:
    """The activation after each step of a forward pass on `images`."""

    images: Tensor
    steps: list[Step] = field(default_factory=list)
    reached: list[Activation] = field(default_factory=list)


class PrefixExecutor:
    """Runs subnets of a supernet on the same images, in the order of their paths.

    A subnet may be called several times, such as with flipped images: its n-th call reuses activations of the
    previous subnet's n-th call, if the images are equal.

    Args:
        supernet: the supernet, in eval mode.
        statistics: batch-norm statistics of each subnet; None for those of the supernet.
    """

    def __init__(self, supernet: Supernet, statistics: PrefixStatistics | None = None) -> None:
        self._supernet, self._statistics = supernet, statistics
        self._caches: dict[int, _Cache] = {}

    @property
    def holds_maps(self) -> bool:
        """Whether activations are cached for the next subnet."""
        return bool(self._caches)

    def forget(self) -> None:
        """Frees all cached activations."""
        self._caches.clear()

    def subnet(self, genotype: Genotype, following: Genotype | None = None) -> Callable[[Tensor], Any]:
        """The subnet as a function from images to output, to be called before the next subnet is requested.

        Args:
            genotype: the subnet.
            following: the next subnet; activations of the prefix that it shares with this one are kept.
        """
        family = self._supernet.family
        backbone = bind(family, self._supernet.backbone, genotype)
        head = subnet_head(self._supernet.head, level_channels(family, genotype))
        kept = 0 if following is None else shared_length(backbone.path, family.path(following))
        calls = itertools.count()

        def net(images: Tensor) -> Any:
            levels = self._levels(images, backbone, next(calls), kept)
            return self._run(
                (head,), backbone.path, lambda: head_output(head, levels, backbone, images.shape[-2:])
            )

        return net

    def _run(self, parts: Sequence[nn.Module], steps: Sequence[Step], call: Callable[[], Any]) -> Any:
        """Runs `call` with the statistics of the modules `parts` behind `steps`."""
        if self._statistics is None:
            return call()
        return self._statistics.run(parts, tuple(steps), call)

    def _levels(
        self, images: Float[Tensor, "B 3 H W"], backbone: Backbone, number: int, kept: int
    ) -> list[Tensor]:
        """The levels of call `number`; caches the activations of its first `kept` steps."""
        path, cache = backbone.path, self._caches.get(number)
        if cache is None or not torch.equal(cache.images, images):
            cache = _Cache(images)
        common = shared_length(cache.steps, path)
        del cache.steps[common:], cache.reached[common:]
        if kept:
            self._caches[number] = cache
        else:
            self._caches.pop(number, None)
        at = cache.reached[-1] if common else backbone.begin(images)
        for index in range(common, len(path)):
            run = partial(backbone.run, index, at)
            at = self._run(backbone.parts(index), path[: index + 1], run)
            if index < kept:
                cache.steps.append(path[index])
                cache.reached.append(at)
        return list(at.levels)


def shared_length(one: Sequence[Step], other: Sequence[Step]) -> int:
    """The length of the common prefix of two paths."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
