"""A bank: the best subnets of one level that were seen so far, each with its quality."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from evonas.space.genotype import Genotype


class Bank:
    """At most `size` different subnets; quality is minus a loss, so larger is better.

    ElasticViT keeps one for each level (arXiv 2303.09730, section 4.2).
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._members: dict[Genotype, float] = {}

    def __len__(self) -> int:
        return len(self._members)

    @property
    def members(self) -> list[Genotype]:
        """In the order in which they came."""
        return list(self._members)

    @property
    def is_half_full(self) -> bool:
        """Whether there is enough to choose from: more than half of its capacity."""
        return 2 * len(self) > self.size

    def best(self) -> Genotype | None:
        """The member of the highest quality; the first of equals, None of an empty bank."""
        return max(self._members, key=lambda member: self._members[member], default=None)

    def draw(self, rng: np.random.Generator) -> Genotype:
        """A member, with probabilities that are the softmax of the qualities."""
        qualities = np.array(list(self._members.values()))
        shares = np.exp(qualities - qualities.max())
        return self.members[int(rng.choice(len(shares), p=shares / shares.sum()))]

    def offer(self, genotype: Genotype, quality: float) -> None:
        """Keep a subnet if there is room, or in place of the worst if it is better; a member gets news."""
        if genotype not in self._members and len(self) >= self.size:
            worst = min(self._members, key=lambda member: self._members[member])
            if self._members[worst] >= quality:
                return
            del self._members[worst]
        self._members[genotype] = quality

    def rescore(self, qualities: Sequence[float]) -> None:
        """New qualities of the members, in their order."""
        self._members = dict(zip(self._members, qualities, strict=True))

    def plain(self) -> list[list[Any]]:
        """Plain data: genes and quality of each member."""
        return [[list(member.genes), quality] for member, quality in self._members.items()]

    def fill(self, space: str, plain: Sequence[Sequence[Any]]) -> None:
        """Take what `plain` gave."""
        self._members = {Genotype(space, tuple(genes)): float(quality) for genes, quality in plain}
