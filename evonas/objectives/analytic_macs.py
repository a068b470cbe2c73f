"""Analytic multiply-adds of a subnet's backbone, for `search.cheap`.

Torch-free, unlike the objective `macs`, which also counts the head by running it. For images of one size the head
is the same for every subnet, so both differ by a constant and rank genotypes equally, as `search.cheap` requires.
"""

from collections.abc import Mapping
from typing import Any

from evonas.config import build
from evonas.errors import UserError
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import SupernetFamily, cost
from evonas.supernets.families import without_space


class AnalyticMacs:
    """Multiply-adds in 10^9 of the backbone, for `search.cheap`.

    Args:
        network: config of the supernet's family; needs `_recursive_: false` in the config of this class.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Raises:
        UserError: network has no `_target_`, or the image is empty.
    """

    def __init__(self, network: Mapping[str, Any], height: int, width: int) -> None:
        if "_target_" not in network or min(height, width) < 1:
            raise UserError(
                f"AnalyticMacs needs a network config with _target_ and an image size, got {height} x {width} pixels "
                f"and a network with {', '.join(network)}.",
                "Set network: ${network}, and the size of the task's images.",
            )
        self._network = without_space(network)
        self._size = int(height), int(width)
        self._families: dict[str, SupernetFamily] = {}

    def __call__(self, space: Space, genotype: Genotype) -> float:
        """Multiply-adds in 10^9, by the family's counting rules."""
        if space.name not in self._families:
            self._families[space.name] = build(self._network, space=space)
        return cost(self._families[space.name], genotype, self._size).macs / 1e9
