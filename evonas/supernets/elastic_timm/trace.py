"""Finding the structure of a timm model, once; nothing of it is believed before it is checked.

`chain.py` finds the blocks and `taint.py` which channels belong together. Here they become groups, and every group
passes two checks on random weights before it is part of the structure:

- Its units are relabelled, that is, permuted in all tensors that they own positions of: the block's output stays.
- Half of them are cut: the block runs, and computes what it does with zeros in the weights that read them. Where a
  norm averages over the channels the two differ, and the group is marked. With one unit of each of its groups the
  block runs, too.

What fails is left whole and listed with the reason. A block may be left out if it is the identity on its own input
while its parameters are zero.

Legend: B batch, C channels, H W space.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.initialise import drawn_values
from evonas.supernets.elastic_timm.chain import chain, ends_with, levels
from evonas.supernets.elastic_timm.checks import (
    ERRORS,
    averages,
    changed,
    close,
    first_line,
    permuted,
    second_half_zero,
)
from evonas.supernets.elastic_timm.model import any_size, call, fresh, pad
from evonas.supernets.elastic_timm.settings import FoundSettings
from evonas.supernets.elastic_timm.streams import LEVEL, Positions, find_streams
from evonas.supernets.elastic_timm.structure import (
    HEADS,
    WIDTH,
    Block,
    Group,
    LevelAxis,
    Stage,
    Structure,
    UnitAxis,
    cuts_of,
)
from evonas.supernets.elastic_timm.taint import GROUP, LAYERS, MAKES, READS, Node, channels_of
from evonas.supernets.slices import bound

_LEVELS, _LEAST_STRIDE = 4, 4


def trace(name: str, with_streams: bool = False) -> Structure:
    """The structure of a timm model.

    Args:
        name: timm's name of it.
        with_streams: whether to find the channels that pass between blocks, too; see `streams.py`.

    Raises:
        UserError: timm has no such model, it is not a chain of blocks, it reads images of one size only, or
            nothing in it can be cut, or no stream where streams are wanted.
    """
    model, arguments = any_size(name)
    chosen = _chosen_levels(levels(model))
    if not chosen:
        raise UserError(f"timm's {name} has no feature maps.", "Try network.name=resnet18.")
    _randomise(model)
    stride = max(int(each["stride"]) for each in chosen)
    image = torch.randn(1, 3, 2 * stride, 3 * stride, generator=torch.Generator().manual_seed(0))
    ends = [str(each["module"]) for each in chosen]
    try:
        runs = chain(model, image, ends)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(
            f"timm's {name} cannot be made elastic: it does not read images of {image.shape[2]}x{image.shape[3]} "
            f"pixels ({first_line(error)}).",
            "Choose a model that reads images of any size, such as network.name=resnet18.",
        ) from error
    finder = Finder(model)
    x, blocks, stages, done, given = image, [], [], iter(chosen), list[Tensor]()
    level = next(done)
    with torch.no_grad():
        for run in runs:
            given.append(x)
            blocks.append(finder.block(run, x))
            x = call(model, run, x)
            if ends_with(model, run[-1], str(level["module"])):
                stages.append(_stage(blocks, level, x, image))
                blocks, level = [], next(done, level)
        multiple = _multiple(model, runs, stages, stride, name)
        level_axes: tuple[LevelAxis, ...] = ()
        if with_streams:
            stages, level_axes = find_streams(finder, stages, given, name)
    own = _own_tensors(model, runs)
    if not finder.groups and not any(block.is_droppable for stage in stages for block in stage.blocks):
        raise UserError(f"Nothing in timm's {name} can be cut.", "Try network.name=resnet18.")
    trained = {key for key, _ in model.named_parameters()}
    return Structure(
        model=name,
        arguments=arguments,
        timm=timm.__version__,
        multiple=multiple,
        prefix_tokens=int(getattr(model, "num_prefix_tokens", 0)),
        stages=tuple(stages),
        groups=tuple(finder.groups),
        settings=finder.settings.made(),
        tensors=tuple((key, tuple(tensor.shape)) for key, tensor in own.items()),
        trained=tuple(key for key in own if key in trained),
        initial=tuple(each for each in drawn_values(fresh(name, arguments)) if each[0] in own),
        refused=tuple(finder.refused),
        level_axes=level_axes,
    )


def _chosen_levels(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The feature maps of stride 4 and more, at most four: those of a transformer at equal distances."""
    strides = {int(each["stride"]) for each in found}
    if len(strides) == 1:
        count = min(_LEVELS, len(found))
        return [found[(at + 1) * len(found) // count - 1] for at in range(count)]
    return [each for each in found if int(each["stride"]) >= _LEAST_STRIDE][-_LEVELS:]


def _stage(blocks: list[Block], level: Mapping[str, Any], x: Tensor, image: Tensor) -> Stage:
    channels, stride = int(level["channels"]), int(level["stride"])
    grid = [-(-side // stride) for side in image.shape[-2:]]
    if x.ndim == 3:
        layout = "tokens"
    elif list(x.shape[1:]) == [channels, *grid]:
        layout = "NCHW"
    elif list(x.shape[1:]) == [*grid, channels]:
        layout = "NHWC"
    else:
        raise UserError(
            f"{level['module']} gives a map of {list(x.shape)} for an image of {list(image.shape)}, which is not "
            f"one of {channels} channels at stride {stride}.",
            "Try network.name=resnet18.",
        )
    return Stage(tuple(blocks), channels, stride, layout)


def _multiple(
    model: nn.Module, runs: Sequence[Sequence[str]], stages: Sequence[Stage], stride: int, name: str
) -> int:
    """To a multiple of how many pixels images must be padded, so that every level rounds its grid up."""
    if stages[0].layout == "tokens":
        return 1
    sizes = [(2 * stride + 1, 3 * stride - 1), (stride - 1, 2 * stride + 3), (5, stride // 2)]
    for multiple in (1, stride):
        if all(_rounds_up(model, runs, stages, size, multiple) for size in sizes):
            return multiple
    raise UserError(
        f"timm's {name} cannot be made elastic: it does not read images of every size.",
        "Choose a model that does, such as network.name=resnet18.",
    )


def _rounds_up(
    model: nn.Module,
    runs: Sequence[Sequence[str]],
    stages: Sequence[Stage],
    size: tuple[int, int],
    multiple: int,
) -> bool:
    x, following = pad(torch.zeros(1, 3, *size), multiple), iter(runs)
    padded = tuple(x.shape[-2:])
    try:
        for stage in stages:
            for _ in stage.blocks:
                x = call(model, next(following), x)
            grid = x.shape[2:] if stage.layout == "NCHW" else x.shape[1:3]
            if list(grid) != [-(-side // stage.stride) for side in padded]:
                return False
    except (RuntimeError, ValueError, AssertionError):
        return False
    return True


class Finder:
    """Groups and settings of the blocks of a model, which has random weights."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict(keep_vars=True).items()}
        self.groups: list[Group] = []
        self._own: dict[str, dict[str, Tensor]] = {}
        self.refused: list[tuple[str, str]] = []
        self.settings = FoundSettings(model)
        # by block, the layers and parameters whose channels leave it
        self.leaving: list[list[str]] = []

    def block(self, run: Sequence[str], x: Tensor) -> Block:
        """One block that is given x; its groups are added."""
        modules = {
            f"{name}.{inner}" if inner else name: module
            for name in run
            if name[:1] != ":"
            for inner, module in self.model.get_submodule(name).named_modules()
        }
        found: list[int] = []
        base = call(self.model, run, x)
        for positions, what in self._candidates(run, modules, x):
            group = self.group_of(positions)
            if isinstance(group, str):
                self.refused.append((what, group))
                continue
            index = len(self.groups)
            settings = self.settings.of(group, modules)
            reason, is_exact = self._check(run, x, base, group, settings.at(group, group.units // 2), modules)
            if reason:
                self.refused.append((what, reason))
                continue
            kind = HEADS if settings.has_heads else WIDTH
            self.groups.append(Group(kind, group.units, group.axes, is_exact))
            self.settings.add(index, settings)
            if reason := self._fault_of_smallest(run, x, base, [*found, index]):
                self.settings.remove(index)
                self.groups.pop()
                self.refused.append((what, reason))
                continue
            found.append(index)
        name = next(name for name in run if name[:1] != ":")
        return Block(name, tuple(run), tuple(found), len(run) == 1 and self._is_droppable(run, x, base))

    def _candidates(
        self, run: Sequence[str], modules: dict[str, nn.Module], x: Tensor
    ) -> Iterator[tuple[list[Positions], str]]:
        """Units of equal kind, each with its positions by tensor and axis, and a word for them."""
        of = channels_of(lambda given: call(self.model, run, given), modules, x)
        self.leaving.append(of.leaving())
        inside = []
        for nodes in of.classes():
            sides = {side for _, side, _ in nodes}
            if READS in sides and sides & {MAKES, GROUP}:
                inside.append(nodes)
        for units in self.units_of(inside):
            first = min(units[0])[0]
            yield units, first.rpartition(".")[0]

    def units_of(self, classes: Iterable[Sequence[Node]]) -> Iterator[list[Positions]]:
        """Units of equal kind, each with its positions by tensor and axis."""
        kinds: dict[tuple[Any, ...], list[Positions]] = {}
        for nodes in classes:
            positions: Positions = {}
            for node in nodes:
                for tensor, axis, places in self._owned(node):
                    positions.setdefault((tensor, axis), []).extend(places)
            kind = tuple(sorted((*key, len(places)) for key, places in positions.items()))
            kinds.setdefault(kind, []).append({key: sorted(places) for key, places in positions.items()})
        for units in kinds.values():
            yield sorted(units, key=lambda unit: min(unit.items()))

    def _owned(self, node: Node) -> Iterator[tuple[str, int, list[int]]]:
        """(tensor, axis, positions) of a channel of a layer, of a scaling module or of a parameter."""
        name, side, index = node
        if name[:1] == LEVEL:
            yield name, 0, [index]
            return
        if side[:6] == "scales" and side != "scales":
            yield name, int(side[6:]), [index]
            return
        module = self.model.get_submodule(name)
        if side == READS:
            yield f"{name}.weight", 1, [index]
            return
        tensors = self._held(name)
        if isinstance(module, LAYERS):
            rows = module.weight.shape[0] // (module.groups if side == GROUP else module.weight.shape[0])  # type: ignore[operator]
            for key in tensors:
                yield f"{name}.{key}", 0, list(range(index * rows, (index + 1) * rows))
            return
        width = max(tensor.numel() for tensor in tensors.values())
        for key, tensor in tensors.items():
            if tensor.numel() == width:
                yield f"{name}.{key}", tensor.shape.index(width), [index]

    def _held(self, name: str) -> dict[str, Tensor]:
        """The parameters and buffers of a module itself."""
        if name not in self._own:
            module = self.model.get_submodule(name)
            parts = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
            self._own[name] = dict(parts)
        return self._own[name]

    def group_of(self, units: list[Positions]) -> Group | str:
        """The group of some units, or why it is none."""
        if len(units) < 2:
            return "its channels cannot be told apart: they mix outside of layers"
        axes = []
        for tensor, axis in units[0]:
            first, second = units[0][tensor, axis], units[1][tensor, axis]
            length = second[0] - first[0]
            starts = [place for at, place in enumerate(first) if at % max(1, length) == 0]
            made = UnitAxis(tensor, axis, tuple(starts), length)
            if length < 1 or any(
                unit[tensor, axis]
                != [start + at * length + inner for start in starts for inner in range(length)]
                for at, unit in enumerate(units)
            ):
                return f"its channels do not lie side by side in {tensor}"
            axes.append(made)
        return Group(WIDTH, len(units), tuple(axes))

    def _check(
        self,
        run: Sequence[str],
        x: Tensor,
        base: Tensor,
        group: Group,
        settings: Mapping[str, Mapping[str, Any]],
        modules: Mapping[str, nn.Module],
    ) -> tuple[str, bool]:
        """Why a group is refused, or an empty word; and whether cutting it is the same as zeroing it."""
        with changed(self.model, group, permuted):
            if not close(call(self.model, run, x), base):
                return "the block computes something else when its channels are relabelled", False
        kept = group.units // 2
        try:
            found = call(bound(self.model, cuts_of([(group, kept)], self.shapes), (), settings), run, x)
        except ERRORS as error:
            return f"the block does not run without half of them: {first_line(error)}", False
        if found.shape != base.shape or not found.isfinite().all():
            return "the block gives another shape without half of them", False
        readers = frozenset(axis.tensor for axis in group.axes if axis.axis == 1)
        with changed(self.model, group, second_half_zero, readers):
            if close(found, call(self.model, run, x)):
                return "", True
        if any(averages(modules.get(axis.tensor.rpartition(".")[0])) for axis in group.axes):
            return "", False
        return "the block without half of them is not the block with zeros in their place", False

    def _fault_of_smallest(self, run: Sequence[str], x: Tensor, base: Tensor, groups: Sequence[int]) -> str:
        """Why a block does not run with one unit of each of its groups, or an empty word."""
        missing = {at: self.groups[at].units - 1 for at in groups}
        settings: dict[str, dict[str, Any]] = {}
        for each in self.settings.made():
            if any(at in missing for at, _ in each.per_unit):
                settings.setdefault(each.module, {})[each.attribute] = each.at(missing)
        try:
            kept = [(self.groups[at], 1) for at in groups]
            found = call(bound(self.model, cuts_of(kept, self.shapes), (), settings), run, x)
        except ERRORS as error:
            return f"the block does not run with one of them and of its other groups: {first_line(error)}"
        is_same = found.shape == base.shape and bool(found.isfinite().all())
        return "" if is_same else "the block gives another shape with one of them and of its other groups"

    def _is_droppable(self, run: Sequence[str], x: Tensor, base: Tensor) -> bool:
        if base.shape != x.shape:
            return False
        parameters = list(self.model.get_submodule(run[0]).parameters())
        before = [each.detach().clone() for each in parameters]
        for each in parameters:
            each.data.zero_()
        try:
            return torch.equal(call(self.model, run, x), x)
        finally:
            for each, old in zip(parameters, before, strict=True):
                each.data.copy_(old)


def _randomise(model: nn.Module) -> None:
    """Random weights with which every part of the model matters, in place."""
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in model.modules():
            statistics = [
                each for each in module.named_buffers(recurse=False) if each[0].startswith("running_")
            ]
            for name, tensor in (*module.named_parameters(recurse=False), *statistics):
                if isinstance(module, LAYERS) and name == "weight":
                    tensor.normal_(0, tensor[0].numel() ** -0.5, generator=source)
                elif name in ("bias", "running_mean"):
                    tensor.normal_(0, 0.1, generator=source)
                else:
                    tensor.uniform_(0.5, 1.5, generator=source)


def _own_tensors(model: nn.Module, runs: Sequence[Sequence[str]]) -> dict[str, Tensor]:
    """Those that the blocks need, by name."""
    whole = {name for run in runs for name in run if name[:1] != ":"}
    roots = {name for name, _ in model.named_parameters(recurse=False)} if _has_methods(runs) else set[str]()
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name in roots or any(name.startswith(f"{each}.") for each in whole)
    }


def _has_methods(runs: Sequence[Sequence[str]]) -> bool:
    return any(name[:1] == ":" for run in runs for name in run)
