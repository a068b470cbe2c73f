"""What an architecture is made of: slices, missing blocks and settings; free of torch."""

from collections.abc import Collection
from typing import Any

from evonas.nn.level import Level
from evonas.supernets.base import Cuts, Pieces, Settings
from evonas.supernets.elastic_timm.space import Architecture, units_of
from evonas.supernets.elastic_timm.structure import Group, Structure, cuts_of, pieces_without

# where a backbone holds its model
_MODEL = "net"


def levels(of: Structure, architecture: Architecture | None = None) -> tuple[Level, ...]:
    """Those of a subnet; None for the whole model, and of every subnet where no stream is cut."""
    if architecture is None:
        return tuple(Level(stage.channels, stage.stride) for stage in of.stages)
    channels = (sum(length for _, length in pieces) for pieces in level_pieces(of, architecture))
    return tuple(Level(count, stage.stride) for count, stage in zip(channels, of.stages, strict=True))


def level_pieces(of: Structure, architecture: Architecture) -> tuple[Pieces, ...]:
    """(start, length) of the channels of the whole model's levels that a subnet's levels have."""
    gone: list[list[tuple[int, int]]] = [[] for _ in of.stages]
    units = units_of(of, architecture) if of.level_axes else {}
    for each in of.level_axes:
        kept, whole = units[each.group], of.groups[each.group].units
        if kept < whole:
            ranges = ((start + kept * each.length, start + whole * each.length) for start in each.starts)
            gone[each.stage] += ranges
    return tuple(pieces_without(each, stage.channels) for each, stage in zip(gone, of.stages, strict=True))


def largest(of: Structure) -> Architecture:
    """The whole model, on images as they are."""
    return Architecture(1.0, tuple(tuple(of.groups[at].units for at in block.groups) for block in of.blocks))


def cuts(of: Structure, architecture: Architecture) -> Cuts:
    """Which slices of the whole backbone's tensors a subnet consists of."""
    kept = ((of.groups[index], units) for index, units in units_of(of, architecture).items())
    found = {f"{_MODEL}.{name}": each for name, each in cuts_of(kept, of.shapes).items()}
    gone = absent(of, architecture)
    return {name: each for name, each in found.items() if not _is_in(gone, name)}


def absent(of: Structure, architecture: Architecture) -> frozenset[str]:
    """Names of the whole backbone's modules that a subnet does not have."""
    pairs = zip(of.blocks, architecture.blocks, strict=True)
    return frozenset(f"{_MODEL}.{block.run[0]}" for block, units in pairs if units is None)


def settings(of: Structure, architecture: Architecture) -> Settings:
    """Sizes that a subnet's modules keep beside their tensors, where they are not those of the whole backbone."""
    groups: tuple[Group, ...] = of.groups
    missing = {index: groups[index].units - units for index, units in units_of(of, architecture).items()}
    found: dict[str, dict[str, int | tuple[int, ...]]] = {}
    # streams are those of blocks that do not run, too
    gone = absent(of, architecture)
    for each in of.settings:
        is_changed = any(missing.get(index) for index, _ in each.per_unit)
        if is_changed and not _is_in(gone, f"{_MODEL}.{each.module}"):
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


def _is_in(modules: Collection[str], name: str) -> bool:
    """Whether a module or tensor is one of some modules or inside it."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return bool(name)
