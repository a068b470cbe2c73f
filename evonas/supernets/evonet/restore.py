"""An EvoNet backbone out of its description."""

from typing import Any

from evonas.supernets.evonet.backbone import EvoNetBackbone
from evonas.supernets.evonet.cost import NetworkShape
from evonas.supernets.evonet.space import Architecture, StageChoice


def restore(description: dict[str, Any]) -> EvoNetBackbone:
    """See `families.restore`."""
    stages = tuple(StageChoice(**_tuples(stage)) for stage in description["architecture"])
    return EvoNetBackbone(Architecture(stages), NetworkShape(**_tuples(description["network"])), seed=None)


def _tuples(record: dict[str, Any]) -> dict[str, Any]:
    """A record as frozen dataclasses want it, since JSON has lists alone."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
