"""Multiply-adds of a subnet's backbone without a bench: a closed form that searchers may ask freely.

Torch-free, unlike the objective `macs`, which also counts the head by running it. The head is the same
for every subnet, so both order genotypes alike and differ by a constant, which is all that a searcher's
`cheap` form may differ by.
"""

from collections.abc import Mapping
from typing import Any

from evonas.errors import UserError
from evonas.nn.cost import NetworkShape, count_macs
from evonas.space.evonet import architecture
from evonas.space.genotype import Genotype
from evonas.space.space import Space

_FIELDS = ("dims", "heads", "stem_dim", "stem_ratio", "merge_ratio", "mixer")


class ClosedMacs:
    """Multiply-adds in 10^9 of the backbone, for `search.cheap`.

    Args:
        network: config of the backbone; only its sizes are read. Write `_recursive_: false` beside it.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Raises:
        UserError: for a network whose sizes are missing, or an empty image.
    """

    def __init__(self, network: Mapping[str, Any], height: int, width: int) -> None:
        if "dims" not in network or "heads" not in network or min(height, width) < 1:
            raise UserError(
                f"No closed form for {height} x {width} pixels and a network with {', '.join(network)}.",
                "Give network: ${network} with dims and heads, and the size of the task's images.",
            )
        given = {name: network[name] for name in _FIELDS if name in network}
        sizes: dict[str, Any] = {
            name: tuple(value) if name in _FIELDS[:2] else value for name, value in given.items()
        }
        self._shape = NetworkShape(**sizes)
        self._height, self._width = int(height), int(width)

    def __call__(self, space: Space, genotype: Genotype) -> float:
        """Exact up to the conventions of `nn/cost.py`."""
        return count_macs(architecture(space, genotype), self._shape, self._height, self._width) / 1e9
