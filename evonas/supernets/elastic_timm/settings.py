"""What modules of timm keep beside their tensors and must know of a cut: sizes, groups and numbers of heads."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from evonas.supernets.elastic_timm.structure import Group, Setting, UnitAxis
from evonas.supernets.elastic_timm.taint import LAYERS

_MADE = ("out_channels", "out_features")
_READ = ("in_channels", "in_features")
_SCALED = ("num_features", "num_channels", "normalized_shape")
_HEADS = ("num_heads",)
_ALL_HEADS = ("attn_dim", "all_head_dim", "inner_dim", "dh")
_ROWS = ("split_indices",)
_Entry = tuple[tuple[int, ...], bool, tuple[int, ...]]


@dataclass(slots=True)
class OwnSettings:
    """Of one group: value, whether it is a row, and what a unit takes off, by module and attribute."""

    entries: dict[tuple[str, str], _Entry] = field(default_factory=dict)
    has_heads: bool = False

    def at(self, group: Group, kept: int) -> dict[str, dict[str, Any]]:
        """Values by module where a group keeps so many units."""
        found: dict[str, dict[str, Any]] = {}
        for (module, attribute), (value, is_row, part) in self.entries.items():
            setting = Setting(module, attribute, value, ((0, part),), is_row)
            found.setdefault(module, {})[attribute] = setting.at({0: group.units - kept})
        return found


class FoundSettings:
    """Those of a model's groups together."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._found: dict[tuple[str, str], tuple[tuple[int, ...], bool, dict[int, tuple[int, ...]]]] = {}

    def of_stream(self, group: Group) -> OwnSettings:
        """What a stream changes: sizes of layers and norms; heads and splits belong to groups inside blocks."""
        own = OwnSettings()
        for axis in group.axes:
            name = axis.tensor.rpartition(".")[0]
            for attribute, part in self._sizes(name, axis):
                self._enter(own, name, attribute, (part,))
        return own

    def of(self, group: Group, modules: Mapping[str, nn.Module]) -> OwnSettings:
        """What a group changes in a block's modules."""
        own = self.of_stream(group)
        above = {name for axis in group.axes for name in _ancestors(axis.tensor) if name in modules}
        inner = {len(axis.starts) * axis.length * group.units for axis in group.axes if axis.axis == 1}
        for name in sorted(above):
            held = vars(modules[name])
            for attribute in _HEADS:
                if held.get(attribute) == group.units:
                    own.has_heads = True
                    self._enter(own, name, attribute, (1,))
            for attribute in _ALL_HEADS:
                if held.get(attribute) in inner:
                    self._enter(own, name, attribute, (held[attribute] // group.units,))
            for attribute in _ROWS:
                if isinstance(row := held.get(attribute), (tuple, list)):
                    self._enter(own, name, attribute, self._parts(name, row, group))
        return own

    def add(self, index: int, own: OwnSettings) -> None:
        """Keep those of a group that has passed its checks."""
        for key, (value, is_row, part) in own.entries.items():
            self._found.setdefault(key, (value, is_row, {}))[2][index] = part

    def remove(self, index: int) -> None:
        """Forget a group that was added."""
        for key in [key for key, (_, _, parts) in self._found.items() if index in parts]:
            parts = self._found[key][2]
            del parts[index]
            if not parts:
                del self._found[key]

    def made(self) -> tuple[Setting, ...]:
        return tuple(
            Setting(module, attribute, value, tuple(sorted(parts.items())), is_row)
            for (module, attribute), (value, is_row, parts) in sorted(self._found.items())
        )

    def _enter(self, own: OwnSettings, name: str, attribute: str, part: tuple[int, ...]) -> None:
        value = vars(self._model.get_submodule(name))[attribute]
        is_row = isinstance(value, (tuple, list))
        whole = tuple(value) if is_row else (value,)
        if any(part):
            own.entries[name, attribute] = (whole, is_row, part)

    def _sizes(self, name: str, axis: UnitAxis) -> Iterator[tuple[str, int]]:
        """The attributes of the module of a tensor that a unit makes smaller, and by how much."""
        module = self._model.get_submodule(name)
        held, part = vars(module), len(axis.starts) * axis.length
        if not isinstance(module, LAYERS):
            yield from ((each, part) for each in _SCALED if each in held and axis.axis == 0)
            return
        yield from ((each, part) for each in (_READ if axis.axis else _MADE) if each in held)
        groups = held.get("groups", 1)
        if axis.axis == 0 and groups > 1:
            yield "groups", part * groups // held["out_channels"]
            yield "in_channels", part * held["in_channels"] // held["out_channels"]

    def _parts(self, name: str, row: Any, group: Group) -> tuple[int, ...]:
        """How many channels of a unit lie in each piece of what is split by a row of sizes."""
        for axis in group.axes:
            module = self._model.get_submodule(axis.tensor.rpartition(".")[0])
            is_inside = axis.tensor.startswith(f"{name}.")
            if (
                is_inside
                and axis.axis == 0
                and isinstance(module, LAYERS)
                and module.weight.shape[0] == sum(row)
            ):
                ends = [sum(row[: at + 1]) for at in range(len(row))]
                places = [start + at for start in axis.starts for at in range(axis.length)]
                pieces = [next(at for at, end in enumerate(ends) if place < end) for place in places]
                return tuple(pieces.count(at) for at in range(len(row)))
        return (0,) * len(row)


def _ancestors(tensor: str) -> Iterator[str]:
    name = tensor.rpartition(".")[0]
    while name:
        yield name
        name = name.rpartition(".")[0]
