"""Bank of the best subnets of one cost level found so far, with their quality."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from evonas.space.genotype import Genotype


class Bank:
    """Holds at most `size` distinct subnets; the quality is the negative loss, so larger is better.

    ElasticViT has one bank per cost level (arXiv 2303.09730, section 4.2).
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._members: dict[Genotype, float] = {}

    def __len__(self) -> int:
        return len(self._members)

    @property
    def members(self) -> list[Genotype]:
        """The subnets in insertion order."""
        return list(self._members)

    @property
    def is_half_full(self) -> bool:
        """Whether more than half of the capacity is used."""
        return 2 * len(self) > self.size

    def best(self) -> Genotype | None:
        """The member with the highest quality (ties: the first inserted), or None if the bank is empty."""
        return max(self._members, key=lambda member: self._members[member], default=None)

    def draw(self, rng: np.random.Generator) -> Genotype:
        """Samples a member with probability softmax(quality)."""
        qualities = np.array(list(self._members.values()))
        shares = np.exp(qualities - qualities.max())
        return self.members[int(rng.choice(len(shares), p=shares / shares.sum()))]

    def offer(self, genotype: Genotype, quality: float) -> None:
        """Inserts a subnet, or updates its quality; a full bank replaces its worst member if that is worse."""
        if genotype not in self._members and len(self) >= self.size:
            worst = min(self._members, key=lambda member: self._members[member])
            if self._members[worst] >= quality:
                return
            del self._members[worst]
        self._members[genotype] = quality

    def rescore(self, qualities: Sequence[float]) -> None:
        """Replaces the qualities of all members, in the order of `members`."""
        self._members = dict(zip(self._members, qualities, strict=True))

    def plain(self) -> list[list[Any]]:
        """Genes and quality of each member as JSON data."""
        return [[list(member.genes), quality] for member, quality in self._members.items()]

    def fill(self, space: str, plain: Sequence[Sequence[Any]]) -> None:
        """Restores what `plain` returned, for genotypes of the space named `space`."""
        self._members = {Genotype(space, tuple(genes)): float(quality) for genes, quality in plain}
