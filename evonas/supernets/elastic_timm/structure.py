"""What can be cut in a timm model, as plain data: found once (`trace.py`), then only read.

A structure lists the model's blocks in the order in which they run, and in each of them the groups of channels or
attention heads that can be cut. A *unit* is the smallest part that can go: a channel, or a head with all its
channels. It owns positions along axes of several tensors, since a channel that one layer does not make is one that
the next layer does not read. A subnet has the first units of each group.

Free of torch, so that search processes can read it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from evonas.errors import UserError
from evonas.supernets.base import Cut

# layers say their sizes in these attributes, and attention modules their heads; a description sets no other
ATTRIBUTES = frozenset(
    (
        *("in_channels", "out_channels", "in_features", "out_features", "groups"),
        *("num_features", "num_channels", "normalized_shape"),
        *("num_heads", "head_dim", "attn_dim", "all_head_dim", "inner_dim", "dh", "split_indices"),
    )
)
# what a description may give to `timm.create_model`, each true or false
ARGUMENTS = frozenset(("dynamic_img_size", "dynamic_img_pad", "strict_img_size"))
# methods of a timm model that a step may call between modules
METHODS = ("_pos_embed",)
# kinds of groups; a unit of `rotated` is a channel of all heads of an attention, one of `stream` passes between blocks
WIDTH, HEADS, ROTATED, STREAM = "width", "heads", "rotated", "stream"
# buffer of a centred layer
MEAN = "mean"
# changes when structures of the same model are found otherwise
FORMAT = 1


@dataclass(frozen=True, slots=True)
class UnitAxis:
    """Where the units of a group lie along one axis of a tensor.

    Unit u has, for every start s, the positions s + u * length up to s + (u + 1) * length.
    """

    tensor: str
    axis: int
    starts: tuple[int, ...]
    length: int

    def behind(self, kept: int, units: int) -> list[tuple[int, int]]:
        """(start, end) of what the units behind the first ones own."""
        return [(start + kept * self.length, start + units * self.length) for start in self.starts]


@dataclass(frozen=True, slots=True)
class Group:
    """Channels or heads that are cut together.

    Args:
        kind: `width`, `heads`, `rotated` or `stream`.
        units: how many there are.
        axes: what they own.
        is_exact: whether cutting units is the same as zeroing them; not where a norm averages over them.
    """

    kind: str
    units: int
    axes: tuple[UnitAxis, ...]
    is_exact: bool = True


@dataclass(frozen=True, slots=True)
class Setting:
    """A number, or a row of numbers, that a module keeps beside its tensors and that shrinks with groups.

    Args:
        module: its name.
        attribute: one of ATTRIBUTES.
        value: of the whole model.
        per_unit: (index of a group, what a missing unit takes off each number).
        is_row: whether the attribute is a tuple.
    """

    module: str
    attribute: str
    value: tuple[int, ...]
    per_unit: tuple[tuple[int, tuple[int, ...]], ...]
    is_row: bool

    def at(self, missing: Mapping[int, int]) -> int | tuple[int, ...]:
        """Its value where so many units of each group are missing."""
        found = list(self.value)
        for group, each in self.per_unit:
            found = [value - missing.get(group, 0) * part for value, part in zip(found, each, strict=True)]
        return tuple(found) if self.is_row else found[0]


@dataclass(frozen=True, slots=True)
class Block:
    """One step of the model.

    Args:
        name: of its module, or of the first where it has several.
        run: names of modules, and of METHODS with a colon before them, called one after the other.
        groups: indices of the groups inside it, and of the streams that it is given, makes or passes on.
        is_droppable: whether it is the identity where its branch is zero, so that it may be left out.
    """

    name: str
    run: tuple[str, ...]
    groups: tuple[int, ...] = ()
    is_droppable: bool = False


@dataclass(frozen=True, slots=True)
class LevelAxis:
    """Where the units of a stream lie in the channels of a level, as those of a `UnitAxis`.

    Args:
        stage: whose level it is.
        group: index of the stream.
        starts: see `UnitAxis`.
        length: see `UnitAxis`.
    """

    stage: int
    group: int
    starts: tuple[int, ...]
    length: int


@dataclass(frozen=True, slots=True)
class Stage:
    """The blocks up to a level.

    Args:
        blocks: in the order in which they run.
        channels: of the level.
        stride: of the level, in pixels.
        layout: of the map behind the blocks: `NCHW`, `NHWC`, or `tokens` with those of the classes first.
    """

    blocks: tuple[Block, ...]
    channels: int
    stride: int
    layout: str = "NCHW"


@dataclass(frozen=True)
class Structure:
    """A timm model as blocks and groups.

    Args:
        model: timm's name of it.
        arguments: what `timm.create_model` is given besides, as pairs.
        timm: the version that it was found with.
        multiple: images are padded to a multiple of so many pixels; 1 where the model rounds up itself.
        prefix_tokens: of classes and registers, before those of the image.
        stages: from fine to coarse.
        groups: of all blocks.
        settings: of modules.
        tensors: (name, shape) of every parameter and buffer that is saved.
        trained: names of those that are parameters.
        initial: (name of a parameter that no rule initialises, its mean, its deviation).
        refused: (what, why) of all that looked like a group and was left whole.
        centred: names of the linear layers that keep the mean of their inputs; see `centred`.
        rotated: names of the attentions whose heads lose channels; see `rotation.py`.
        level_axes: which channels of the levels belong to streams; see `streams.py`.
    """

    model: str
    arguments: tuple[tuple[str, Any], ...]
    timm: str
    multiple: int
    prefix_tokens: int
    stages: tuple[Stage, ...]
    groups: tuple[Group, ...]
    settings: tuple[Setting, ...]
    tensors: tuple[tuple[str, tuple[int, ...]], ...]
    trained: tuple[str, ...]
    initial: tuple[tuple[str, float, float], ...]
    refused: tuple[tuple[str, str], ...] = ()
    format: int = FORMAT
    centred: tuple[str, ...] = ()
    rotated: tuple[str, ...] = ()
    level_axes: tuple[LevelAxis, ...] = ()

    def __deepcopy__(self, _: dict[int, Any]) -> "Structure":
        return self

    @cached_property
    def digest(self) -> str:
        """sha256 of all that networks depend on, which stands for it in identities."""
        plain = {key: value for key, value in self.plain().items() if key not in ("timm", "refused")}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every tensor, by name."""
        return dict(self.tensors)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Of all stages, in the order in which they run."""
        return tuple(block for stage in self.stages for block in stage.blocks)

    @cached_property
    def streams(self) -> tuple[int, ...]:
        """Indices of the groups that pass between blocks."""
        return tuple(at for at, group in enumerate(self.groups) if group.kind == STREAM)

    def plain(self) -> dict[str, Any]:
        """As plain JSON; `structure_from` reads it."""
        # structures were recorded before there were such layers and streams
        later = ("centred", "rotated", "level_axes")
        return {key: value for key, value in asdict(self).items() if value or key not in later}

    def text(self) -> str:
        """As JSON in one canonical form."""
        return json.dumps(self.plain(), sort_keys=True, separators=(",", ":"))


def cuts_of(
    kept: Iterable[tuple[Group, int]], shapes: Mapping[str, Sequence[int]]
) -> dict[str, tuple[Cut, ...]]:
    """What is left of every tensor where groups keep so many of their units; the others keep all positions.

    Args:
        kept: groups and how many units each of them has.
        shapes: of the whole tensors.
    """
    gone: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for group, count in kept:
        for axis in group.axes if count < group.units else ():
            gone.setdefault((axis.tensor, axis.axis), []).extend(axis.behind(count, group.units))
    found: dict[str, list[Cut]] = {}
    for (tensor, at), intervals in sorted(gone.items()):
        found.setdefault(tensor, []).append(Cut(at, pieces_without(intervals, shapes[tensor][at])))
    return {tensor: tuple(cuts) for tensor, cuts in found.items()}


def pieces_without(gone: Iterable[tuple[int, int]], size: int) -> tuple[tuple[int, int], ...]:
    """(start, length) of what is left of an axis without some ranges (start, end)."""
    pieces, begin = [], 0
    for start, end in [*sorted(gone), (size, size)]:
        if start > begin:
            pieces.append((begin, start - begin))
        begin = end
    return tuple(pieces)


def centred(of: Structure) -> Structure:
    """The structure whose linear layers that read units, and have a bias, keep the mean of their inputs.

    Such a layer computes W (x - mean) + b. A subnet's layer has slices of W and of the mean and all of b, so that units
    that are cut are replaced by their means instead of by zeros. The mean is the buffer `mean` beside the weight.

    Raises:
        UserError: the model has no such layer.
    """
    names, groups, shapes = dict[str, None](), list[Group](), of.shapes
    for group in of.groups:
        readers = [
            axis
            for axis in group.axes
            if axis.axis == 1
            and len(shapes[axis.tensor]) == 2
            and f"{axis.tensor.removesuffix('weight')}bias" in shapes
        ]
        names.update((axis.tensor.removesuffix(".weight"), None) for axis in readers)
        means = (
            UnitAxis(f"{axis.tensor.removesuffix('weight')}{MEAN}", 0, axis.starts, axis.length)
            for axis in readers
        )
        groups.append(replace(group, axes=(*group.axes, *means)))
    if not names:
        raise UserError(
            f"network.order=centred needs linear layers with a bias that read channels or heads that can be cut, and "
            f"{of.model} has none.",
            "Choose network.order=taylor; batch norms are calibrated for each subnet.",
        )
    buffers = ((f"{name}.{MEAN}", shapes[f"{name}.weight"][1:]) for name in names)
    return replace(of, groups=tuple(groups), tensors=(*of.tensors, *buffers), centred=tuple(names))


def structure_from(plain: Mapping[str, Any]) -> Structure:
    """The structure that `plain` wrote, perhaps changed by a stranger.

    Raises:
        TypeError, KeyError, ValueError: it is none.
    """
    if plain.get("format") != FORMAT:
        raise ValueError(f"the structure has format {plain.get('format')!r}, this evonas reads {FORMAT}")
    stages = [
        Stage(**{**each, "blocks": tuple(Block(**_tuples(block)) for block in each["blocks"])})
        for each in plain["stages"]
    ]
    groups = [
        Group(**{**each, "axes": tuple(UnitAxis(**_tuples(axis)) for axis in each["axes"])})
        for each in plain["groups"]
    ]
    settings = [Setting(**_tuples(each)) for each in plain["settings"]]
    called = {name[1:] for stage in stages for block in stage.blocks for name in block.run if name[:1] == ":"}
    unknown = {each.attribute for each in settings} - ATTRIBUTES | (called - {*METHODS})
    unknown |= {
        str(name)
        for name, value in plain["arguments"]
        if name not in ARGUMENTS or not isinstance(value, bool)
    }
    if unknown:
        raise ValueError(f"the structure names {sorted(unknown)[0]!r}, which it may not")
    own = {
        "stages": tuple(stages),
        "groups": tuple(groups),
        "settings": tuple(settings),
        "level_axes": tuple(LevelAxis(**_tuples(each)) for each in plain.get("level_axes", ())),
    }
    return Structure(**{**_tuples(plain), **own})


def check_model_name(model: object) -> str:
    """The name of a timm model as it is.

    Raises:
        UserError: it is none; names of hubs and folders are none.
    """
    text = str(model)
    if not text or any(not (letter.isalnum() or letter in "_.-") for letter in text):
        raise UserError(
            f"network.name must be the name of a timm model, got {text[:80]!r}.",
            "Try network.name=resnet18; weights are given by network.weights=<file>.",
        )
    return text


def _tuples(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _tuple(child) for key, child in value.items()}


def _tuple(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_tuple(child) for child in value)
    return value
