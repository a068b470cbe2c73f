"""The space of a timm model's subnets, and the reading of its genotypes as architectures.

A resolution for all; per stage a depth, the number of blocks that run; per block a part of its inner channels and a
number of attention heads. Blocks are numbered through over the stages, and only what can be cut has a gene. Levels
keep their channels, so that all subnets share one head, unless streams are cut, too: then each stream, such as the
residual stream of a stage, has a part of its channels wherever it passes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evonas.errors import UserError
from evonas.space.genotype import Genotype
from evonas.space.space import Axis, Space
from evonas.supernets.elastic_timm.structure import (
    HEADS,
    ROTATED,
    STREAM,
    WIDTH,
    Block,
    Group,
    Stage,
    Structure,
)
from evonas.supernets.elastic_timm.structure_store import STREAMS, structure_of

_HINT = "Leave space= out: network=timm brings its own."
# widths are multiples of this where the whole is one and at least twice as much
_DIVISOR = 8
# prefixes of genes that belong to a block and to a stage
_BLOCK = {WIDTH: "e", HEADS: "h", ROTATED: "h"}
_STAGE = {WIDTH: "w", HEADS: "a", ROTATED: "a"}
# and to a stream; streams are numbered in the order in which they begin
_STREAM = "c"


@dataclass(frozen=True, slots=True)
class Architecture:
    """A genotype as the network reads it.

    Args:
        resolution: the sides at which images are read, as a part of their own.
        blocks: for every block of the structure how many units each of its groups has; None where it does not run.
    """

    resolution: float
    blocks: tuple[tuple[int, ...] | None, ...]


def units_of(of: Structure, architecture: Architecture) -> dict[int, int]:
    """How many units each group has, by index, of those that are in blocks that run."""
    return {
        index: count
        for block, units in zip(of.blocks, architecture.blocks, strict=True)
        if units is not None
        for index, count in zip(block.groups, units, strict=True)
    }


def elastic_space(
    model: str,
    structure: str | None = None,
    widths: Sequence[float] = (0.5, 0.625, 0.75, 0.875, 1.0),
    heads: Sequence[float] = (0.5, 0.75, 1.0),
    depth: float = 0.5,
    resolutions: Sequence[float] = (0.5, 0.75, 1.0),
    tied: bool = False,
    name: str | None = None,
    streams: Sequence[float] = (),
) -> Space:
    """The space in the layout r1, d of every stage, then e (width) and h (heads) of every block that has them, then c.

    Args:
        model: timm's name.
        structure: the digest of its structure; None for what the installed timm gives.
        widths: inner channels of a block as a part of those of the whole model.
        heads: attention heads of a block as a part, or channels of every head where heads are rotated.
        depth: the least part of a stage's droppable blocks that runs.
        resolutions: sides at which images are read, as a part of their own.
        tied: all blocks of a stage have one width and one part of their heads: genes w and a of every stage.
        name: the first word of the text form; None for the model's own.
        streams: channels that pass between blocks, and those of the levels, as a part: genes c of every stream. Empty
            leaves them whole.

    Raises:
        UserError: the choices are unusable, or the model cannot be made elastic.
    """
    checked = {"widths": widths, "heads": heads, "resolutions": resolutions}
    if streams:
        checked["streams"] = streams
    for key, given in checked.items():
        if not given or any(not 0 < float(each) <= 1 for each in given) or max(given) != 1:
            raise UserError(
                f"space.{key} must be in (0, 1] and contain 1, got {list(given)}.",
                f"Try space.{key}=[0.5,0.75,1.0].",
            )
    if not 0 <= depth <= 1:
        raise UserError(f"space.depth must be in [0, 1], got {depth}.", "Try space.depth=0.5.")
    of = structure_of(model, structure, variant_of(streams))
    if variant_of(streams) and not of.streams:
        raise UserError(
            f"space.streams={list(streams)} is given, but network.structure={structure} is that of {model} without "
            "streams.",
            "Leave network.structure out.",
        )
    parts = {WIDTH: tuple(sorted(map(float, widths))), HEADS: tuple(sorted(map(float, heads)))}
    axes = [Axis("r1", tuple(sorted(map(float, resolutions))))]
    axes += [Axis(f"d{at}", tuple(depths(stage, depth))) for at, stage in enumerate(of.stages, start=1)]
    for kind in (WIDTH, HEADS):
        axes += (_tied if tied else _single)(of, kind, parts[kind], depth)
    for number, index in enumerate(of.streams if streams else (), start=1):
        choices = _choices([of.groups[index]], tuple(sorted(map(float, streams))))
        if len(choices) > 1:
            axes.append(Axis(f"{_STREAM}{number}", choices))
    groups = {"resolution": ["r"], "depth": ["d"]}
    if cut := sorted({axis.name[0] for axis in axes} - {"r", "d"}):
        groups["width"] = cut
    text = name or "timm-" + "".join(
        letter if letter.isalnum() or letter in "_-" else "-" for letter in model
    )
    return Space(text, tuple(axes), groups=groups)


def variant_of(streams: Sequence[float]) -> str:
    """Which variant of a model's structure a space of these streams needs, see `structure_store.VARIANTS`."""
    is_number = all(isinstance(part, int | float) for part in streams)
    return STREAMS if is_number and any(part < 1 for part in streams) else ""


def has_streams(space: Space) -> bool:
    """Whether some genes are those of streams."""
    return any(axis.name[0] == _STREAM for axis in space.axes)


def depths(stage: Stage, least: float) -> range:
    """How many blocks of a stage may run: at least one, and all that cannot be left out."""
    droppable = sum(block.is_droppable for block in stage.blocks)
    fixed = len(stage.blocks) - droppable
    return range(max(1, fixed + math.ceil(least * droppable)), len(stage.blocks) + 1)


def kept(group: Group, part: float) -> int:
    """How many units are a part of a group: channels in multiples of 8 where the whole is one, heads as they are."""
    step = (
        _DIVISOR if group.kind != HEADS and group.units % _DIVISOR == 0 and group.units >= 2 * _DIVISOR else 1
    )
    # half a step rounds up
    return min(group.units, max(step, step * math.floor(group.units * part / step + 0.5)))


def _of_kind(of: Structure, block: Block, kind: str) -> list[Group]:
    return [of.groups[at] for at in block.groups if _BLOCK.get(of.groups[at].kind) == _BLOCK[kind]]


def _choices(groups: Sequence[Group], parts: Sequence[float]) -> tuple[float, ...]:
    """The largest of the parts that mean the same widths; one where nothing can be chosen."""
    found = {tuple(kept(group, part) for group in groups): part for part in parts}
    return tuple(sorted(found.values()))


def _single(of: Structure, kind: str, parts: Sequence[float], least: float) -> Iterator[Axis]:
    """A gene for every block."""
    number = 0
    for at, stage in enumerate(of.stages, start=1):
        for block, needed in zip(stage.blocks, _needed(stage, least), strict=True):
            number += 1
            choices = _choices(_of_kind(of, block, kind), parts)
            if len(choices) > 1:
                yield Axis(f"{_BLOCK[kind]}{number}", choices, f"d{at}>={needed}" if needed else None)


def _tied(of: Structure, kind: str, parts: Sequence[float], least: float) -> Iterator[Axis]:
    """A gene for every stage; its choices are those of the block that runs where any of its kind does."""
    for at, stage in enumerate(of.stages, start=1):
        ordered = sorted(zip(_needed(stage, least), stage.blocks, strict=True), key=lambda each: each[0])
        first = next(((needed, block) for needed, block in ordered if _of_kind(of, block, kind)), None)
        choices = _choices(_of_kind(of, first[1], kind), parts) if first else ()
        if first and len(choices) > 1:
            yield Axis(f"{_STAGE[kind]}{at}", choices, f"d{at}>={first[0]}" if first[0] else None)


def _needed(stage: Stage, least: float) -> list[int]:
    """For every block the depth from which on it runs; 0 where it always does."""
    low, depth, found = (
        depths(stage, least)[0],
        sum(not block.is_droppable for block in stage.blocks),
        list[int](),
    )
    for block in stage.blocks:
        depth += block.is_droppable
        found.append(depth if block.is_droppable and depth > low else 0)
    return found


class Reading:
    """Reads genotypes of a space of `elastic_space` as architectures of a structure.

    Raises:
        UserError: the space is not one of this structure.
    """

    def __init__(self, space: Space, of: Structure) -> None:
        self.space, self.of = space, of
        axes = {axis.name: axis for axis in space.axes}
        stages, numbers = range(1, len(of.stages) + 1), range(1, len(of.blocks) + 1)
        needed = {"r1", *(f"d{at}" for at in stages)}
        known = needed | {f"{prefix}{at}" for prefix in _STAGE.values() for at in stages}
        known |= {f"{prefix}{at}" for prefix in _BLOCK.values() for at in numbers}
        self._streams = {index: f"{_STREAM}{at}" for at, index in enumerate(of.streams, start=1)}
        known |= set(self._streams.values())
        if (
            space.bits
            or not needed <= set(axes) <= known
            or any(
                not set(axes[f"d{at}"].choices) <= set(depths(stage, 0.0))
                for at, stage in zip(stages, of.stages, strict=True)
            )
        ):
            raise UserError(
                f"Space {space.name} is not one of {of.model}: its genes are {', '.join(space.spans)}.", _HINT
            )

    def architecture(self, genotype: Genotype) -> Architecture:
        """The genotype as one record."""
        values, found = self.space.decode(genotype), list[tuple[int, ...] | None]()
        for at, stage in enumerate(self.of.stages):
            running = values[f"d{at + 1}"] - sum(not block.is_droppable for block in stage.blocks)
            for block in stage.blocks:
                running -= block.is_droppable
                if block.is_droppable and running < 0:
                    found.append(None)
                    continue
                parts = [values.get(self._gene(index, at, len(found)), 1.0) for index in block.groups]
                groups = (self.of.groups[index] for index in block.groups)
                found.append(tuple(kept(group, part) for group, part in zip(groups, parts, strict=True)))
        return Architecture(values["r1"], tuple(found))

    def genes_of(self, stage: int, number: int) -> tuple[str, ...]:
        """The names of the genes that decide what a block is; stages and blocks are counted from 0."""
        block = self.of.blocks[number]
        depth = (f"d{stage + 1}",) if block.is_droppable else ()
        own = dict.fromkeys(self._gene(at, stage, number) for at in block.groups)
        return ("r1", *depth, *(name for name in own if name in self.space.spans))

    def genes_of_level(self, stage: int) -> tuple[str, ...]:
        """The names of the genes that decide what a level is."""
        own = (self._streams[each.group] for each in self.of.level_axes if each.stage == stage)
        return ("r1", *(name for name in own if name in self.space.spans))

    def _gene(self, group: int, stage: int, number: int) -> str:
        kind = self.of.groups[group].kind
        if kind == STREAM:
            return self._streams[group]
        of_block = f"{_BLOCK[kind]}{number + 1}"
        return of_block if of_block in self.space.spans else f"{_STAGE[kind]}{stage + 1}"
