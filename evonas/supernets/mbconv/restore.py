"""A backbone of inverted residuals out of its description."""

from typing import Any

from evonas.supernets.mbconv.backbone import MBConvBackbone
from evonas.supernets.mbconv.cost import NetworkShape
from evonas.supernets.mbconv.space import Architecture, BlockChoice, StageChoice


def restore(description: dict[str, Any]) -> MBConvBackbone:
    """See `families.restore`."""
    given, network = description["architecture"], description["network"]
    stages = tuple(
        StageChoice(stage["width"], tuple(BlockChoice(**block) for block in stage["blocks"]))
        for stage in given["stages"]
    )
    shape = NetworkShape(network["stem"], tuple(network["levels"]), tuple(network["depths"]))
    return MBConvBackbone(Architecture(given["resolution"], stages), shape, seed=None)
