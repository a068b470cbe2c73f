"""Residual streams: channels that pass from block to block, and are those of the levels, found over the whole chain.

`taint.py` follows the channels that leave a block through the blocks behind it. What belongs together spans blocks,
often all of a stage, and channels of levels. The checks are those of groups inside blocks (`trace.py`), on the whole
chain of blocks:

- Units are relabelled: the channels of the levels that they own are relabelled alike, and else the levels stay.
- Half of them are cut: the chain runs, and the levels lose these channels and are else what they are with zeros in the
  weights that read them. Where a norm averages over the channels the two differ, and the stream is marked.
- The chain runs with one unit of each stream so far and of every other group.

What fails is left whole and listed with the reason.

Legend: B batch, C channels, H W space, N tokens.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.supernets.elastic_timm.checks import (
    ERRORS,
    averages,
    changed,
    close,
    first_line,
    permuted,
    second_half_zero,
)
from evonas.supernets.elastic_timm.model import call
from evonas.supernets.elastic_timm.settings import FoundSettings
from evonas.supernets.elastic_timm.structure import (
    STREAM,
    Block,
    Group,
    LevelAxis,
    Stage,
    UnitAxis,
    cuts_of,
    pieces_without,
)
from evonas.supernets.elastic_timm.taint import GROUP, MAKES, READS, Node, channels_of_chain
from evonas.supernets.slices import bound

# first letter of the names that levels have among tensors
LEVEL = ":"
# of one unit, by tensor and axis
Positions = dict[tuple[str, int], list[int]]


class BlockFinder(Protocol):
    """What finds the groups of blocks and goes on with streams; see `trace.Finder`."""

    model: nn.Module
    shapes: dict[str, tuple[int, ...]]
    groups: list[Group]
    refused: list[tuple[str, str]]
    settings: FoundSettings
    leaving: list[list[str]]

    def units_of(self, classes: Iterable[Sequence[Node]]) -> Iterator[list[Positions]]: ...

    def group_of(self, units: list[Positions]) -> Group | str: ...


def find_streams(
    finder: BlockFinder, stages: Sequence[Stage], given: Sequence[Tensor], name: str
) -> tuple[list[Stage], tuple[LevelAxis, ...]]:
    """Adds the streams to the groups, settings and refusals of a finder.

    Args:
        finder: has found the groups of all blocks.
        stages: with these blocks.
        given: what each block is given, B=1.
        name: timm's name of the model.

    Returns:
        The stages, whose blocks list the streams that they touch, and what streams own of the levels.

    Raises:
        UserError: no stream can be cut.
    """
    streams = _Streams(finder, stages, given)
    streams.find()
    if not streams.touched:
        reasons = "; ".join(dict.fromkeys(reason for what, reason in finder.refused if what[:7] == "stream "))
        raise UserError(
            f"No stream of timm's {name} can be cut{': ' if reasons else ''}{reasons}.",
            "Leave space.streams out.",
        )
    return streams.stages(), tuple(streams.level_axes)


class _Streams:
    def __init__(self, finder: BlockFinder, stages: Sequence[Stage], given: Sequence[Tensor]) -> None:
        self._finder, self._stages, self._given = finder, stages, given
        self._blocks = [block for stage in stages for block in stage.blocks]
        self._model = finder.model
        self.level_axes: list[LevelAxis] = []
        # by index of a group, the numbers of the blocks that it is in or passes through
        self.touched: dict[int, set[int]] = {}
        self._ends: dict[int, int] = {}
        number = 0
        for at, stage in enumerate(stages):
            number += len(stage.blocks)
            self._ends[number - 1] = at

    def stages(self) -> list[Stage]:
        """The stages with the streams in their blocks."""
        found, number = list[Stage](), 0
        for stage in self._stages:
            blocks = list[Block]()
            for block in stage.blocks:
                own = (group for group, numbers in self.touched.items() if number in numbers)
                blocks.append(replace(block, groups=(*block.groups, *own)))
                number += 1
            found.append(replace(stage, blocks=tuple(blocks)))
        return found

    def find(self) -> None:
        base = self._levels(self._model)
        for units, passed in self._candidates(base):
            word = min(tensor for tensor, _ in units[0] if tensor[:1] != LEVEL)
            what = f"stream {word.rpartition('.')[0] or word}"
            group = self._finder.group_of(units)
            if isinstance(group, str):
                self._finder.refused.append((what, group))
                continue
            tensors = tuple(axis for axis in group.axes if axis.tensor[:1] != LEVEL)
            ends = [axis for axis in group.axes if axis.tensor[:1] == LEVEL]
            index, stream = len(self._finder.groups), Group(STREAM, group.units, tensors)
            reason, is_exact = self._check(stream, {int(axis.tensor[1:]): axis for axis in ends}, base)
            if not reason:
                self._finder.groups.append(replace(stream, is_exact=is_exact))
                self._finder.settings.add(index, self._finder.settings.of_stream(stream))
                if reason := self._fault_of_smallest():
                    self._finder.settings.remove(index)
                    self._finder.groups.pop()
            if reason:
                self._finder.refused.append((what, reason))
                continue
            owners = {number for number, block in enumerate(self._blocks) if _owns_any(block, tensors)}
            self.touched[index] = owners | passed & set(range(len(self._blocks)))
            self.level_axes += [
                LevelAxis(int(axis.tensor[1:]), index, axis.starts, axis.length) for axis in ends
            ]

    def _candidates(self, base: Sequence[Tensor]) -> Iterator[tuple[list[Positions], set[int]]]:
        """Units of equal kind, in the order in which they begin, and the numbers of the blocks that are given them."""
        parts = dict[str, nn.Module]()
        for block in self._blocks:
            for name in block.run:
                if name[:1] != ":":
                    for inner, module in self._model.get_submodule(name).named_modules():
                        parts[f"{name}.{inner}" if inner else name] = module
        own, loose = dict(self._model.named_parameters()), dict[str, nn.Parameter]()
        makers = list[tuple[int, str]]()
        for number, (block, names) in enumerate(zip(self._blocks, self._finder.leaving, strict=True)):
            # parameters of the model itself are read by its methods
            has_method = any(name[:1] == ":" for name in block.run)
            roots = [name for name in own if "." not in name] if has_method else []
            for name in (*names, *roots):
                if name in own:
                    loose[name] = own[name]
                makers.append((number, name))
        axes = {
            number: (f"{LEVEL}{at}", _channel_axis(self._stages[at], base[at]))
            for number, at in self._ends.items()
        }
        blocks = [partial(call, self._model, block.run) for block in self._blocks]
        of, reached = channels_of_chain(blocks, parts, self._given, axes, makers, loose)
        self._finder.refused += [
            (f"stream {name}", "its channels are those of the image, or mix with them")
            for name in of.leaving()
        ]
        chosen = list[list[Node]]()
        for nodes in of.classes():
            sides = {side for _, side, _ in nodes}
            is_read = READS in sides or any(name[:1] == LEVEL for name, _, _ in nodes)
            if is_read and sides & {MAKES, GROUP}:
                chosen.append(nodes)
        found = list[tuple[int, list[Positions], set[int]]]()
        for units in self._finder.units_of(chosen):
            owned = {name.removesuffix(".weight") for name, axis in units[0] if not axis or name in loose}
            own_makers = [(number, name) for number, name in makers if name in owned]
            passed = {number for _, name in own_makers for number in reached.get(name, ())}
            first = min((number for number, _ in own_makers), default=0)
            found.append((first, units, passed))
        for _, units, passed in sorted(found, key=lambda each: each[0]):
            yield units, passed

    def _levels(self, model: nn.Module) -> list[Tensor]:
        """The maps at the ends of the stages, whatever their layout."""
        x, found = self._given[0], list[Tensor]()
        for stage in self._stages:
            for block in stage.blocks:
                x = call(model, block.run, x)
            found.append(x)
        return found

    def _check(self, stream: Group, ends: Mapping[int, UnitAxis], base: Sequence[Tensor]) -> tuple[str, bool]:
        """Why a stream is refused, or an empty word; and whether cutting it is the same as zeroing it."""
        with changed(self._model, stream, permuted):
            for at, (found, wanted) in enumerate(zip(self._levels(self._model), base, strict=True)):
                if at in ends:
                    axis = replace(ends[at], axis=_channel_axis(self._stages[at], wanted))
                    wanted = permuted(axis, stream.units, wanted)
                if not close(found, wanted):
                    return "the network computes something else when its channels are relabelled", False
        kept = stream.units // 2
        settings = self._finder.settings.of_stream(stream).at(stream, kept)
        try:
            cut = self._levels(
                bound(self._model, cuts_of([(stream, kept)], self._finder.shapes), (), settings)
            )
        except ERRORS as error:
            return f"the network does not run without half of them: {first_line(error)}", False
        readers = frozenset(axis.tensor for axis in stream.axes if axis.axis == 1)
        with changed(self._model, stream, second_half_zero, readers):
            zeroed = self._levels(self._model)
        is_exact = True
        for at, (found, wanted) in enumerate(zip(cut, zeroed, strict=True)):
            if at in ends:
                side = _channel_axis(self._stages[at], wanted)
                left = pieces_without(ends[at].behind(kept, stream.units), wanted.shape[side])
                wanted = torch.cat([wanted.narrow(side, start, length) for start, length in left], side)
            if found.shape != wanted.shape or not found.isfinite().all():
                return "the network gives levels of other shapes without half of them", False
            is_exact = is_exact and close(found, wanted)
        if is_exact or any(averages(self._owner(axis)) for axis in stream.axes):
            return "", is_exact
        return "the network without half of them is not the network with zeros in their place", False

    def _owner(self, axis: UnitAxis) -> nn.Module | None:
        name = axis.tensor.rpartition(".")[0]
        return self._model.get_submodule(name) if name else None

    def _fault_of_smallest(self) -> str:
        """Why the chain does not run with one unit of each group, or an empty word."""
        groups = self._finder.groups
        missing = {at: group.units - 1 for at, group in enumerate(groups)}
        settings: dict[str, dict[str, Any]] = {}
        for each in self._finder.settings.made():
            settings.setdefault(each.module, {})[each.attribute] = each.at(missing)
        try:
            cuts = cuts_of([(group, 1) for group in groups], self._finder.shapes)
            found = self._levels(bound(self._model, cuts, (), settings))
        except ERRORS as error:
            return f"the network does not run with one of them and of its other groups: {first_line(error)}"
        is_finite = all(bool(each.isfinite().all()) for each in found)
        return "" if is_finite else "the network gives no numbers with one of them and of its other groups"


def _channel_axis(stage: Stage, x: Tensor) -> int:
    return 1 if stage.layout == "NCHW" else x.ndim - 1


def _owns_any(block: Block, axes: Iterable[UnitAxis]) -> bool:
    """Whether some of the positions lie in the tensors of a block."""
    has_method = any(name[:1] == ":" for name in block.run)
    names = {axis.tensor.rpartition(".")[0] for axis in axes}
    return (has_method and "" in names) or any(
        name == each or name.startswith(f"{each}.") for name in names for each in block.run
    )
