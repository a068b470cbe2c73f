"""What an architecture is made of: slices, missing blocks and settings; free of torch."""

from collections.abc import Iterator
from typing import Any

from evonas.nn.level import Level
from evonas.supernets.base import Cuts, Settings
from evonas.supernets.elastic_timm.space import Architecture
from evonas.supernets.elastic_timm.structure import Group, Structure, cuts_of

# where a backbone holds its model
_MODEL = "net"


def levels(of: Structure) -> tuple[Level, ...]:
    """Those of every subnet."""
    return tuple(Level(stage.channels, stage.stride) for stage in of.stages)


def largest(of: Structure) -> Architecture:
    """The whole model, on images as they are."""
    return Architecture(1.0, tuple(tuple(of.groups[at].units for at in block.groups) for block in of.blocks))


def cuts(of: Structure, architecture: Architecture) -> Cuts:
    """Which slices of the whole backbone's tensors a subnet consists of."""
    kept = ((of.groups[index], units) for index, units in _units(of, architecture))
    return {f"{_MODEL}.{name}": each for name, each in cuts_of(kept, of.shapes).items()}


def absent(of: Structure, architecture: Architecture) -> frozenset[str]:
    """Names of the whole backbone's modules that a subnet does not have."""
    pairs = zip(of.blocks, architecture.blocks, strict=True)
    return frozenset(f"{_MODEL}.{block.run[0]}" for block, units in pairs if units is None)


def settings(of: Structure, architecture: Architecture) -> Settings:
    """Sizes that a subnet's modules keep beside their tensors, where they are not those of the whole backbone."""
    groups: tuple[Group, ...] = of.groups
    missing = {index: groups[index].units - units for index, units in _units(of, architecture)}
    found: dict[str, dict[str, int | tuple[int, ...]]] = {}
    for each in of.settings:
        if any(missing.get(index) for index, _ in each.per_unit):
            found.setdefault(f"{_MODEL}.{each.module}", {})[each.attribute] = each.at(missing)
    return found


def description(of: Structure, architecture: Architecture) -> dict[str, Any]:
    """A subnet and the structure of its model, as plain JSON; see `families.restore`."""
    blocks = [None if units is None else list(units) for units in architecture.blocks]
    return {
        "family": "elastic_timm",
        "architecture": {"resolution": architecture.resolution, "blocks": blocks},
        "structure": of.plain(),
    }


def _units(of: Structure, architecture: Architecture) -> Iterator[tuple[int, int]]:
    """(index of a group, how many units it has) of the blocks that run."""
    for block, units in zip(of.blocks, architecture.blocks, strict=True):
        if units is not None:
            yield from zip(block.groups, units, strict=True)
