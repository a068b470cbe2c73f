"""Multiply-adds of a subnet's backbone without a context: a closed form that searchers may ask freely.

Torch-free, unlike the objective `macs`, which also counts the head by running it. Behind images of one size the
head is the same for every subnet, so both order genotypes alike and differ by a constant, which is all that a
searcher's `cheap` form may differ by.
"""

from collections.abc import Mapping
from typing import Any

from evonas.config import build
from evonas.errors import UserError
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import SupernetFamily, cost


class AnalyticMacs:
    """Multiply-adds in 10^9 of the backbone, for `search.cheap`.

    Args:
        network: config of the supernet's family. Write `_recursive_: false` beside it.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Raises:
        UserError: for what is no network, or an empty image.
    """

    def __init__(self, network: Mapping[str, Any], height: int, width: int) -> None:
        if "_target_" not in network or min(height, width) < 1:
            raise UserError(
                f"No closed form for {height} x {width} pixels and a network with {', '.join(network)}.",
                "Give network: ${network}, and the size of the task's images.",
            )
        self._network = {key: value for key, value in network.items() if key != "space"}
        self._size = int(height), int(width)
        self._families: dict[str, SupernetFamily] = {}

    def __call__(self, space: Space, genotype: Genotype) -> float:
        """Exact up to the family's conventions of what counts."""
        if space.name not in self._families:
            self._families[space.name] = build(self._network, space=space)
        return cost(self._families[space.name], genotype, self._size).macs / 1e9
