"""The steps of a genotype, and what they cost; free of torch but for the first question about an image size.

Parameters are counted from the shapes of cut tensors. Multiply-adds of a layer are its positions times the numbers of
its weight, those of a product without weights (attention) go with its heads. Positions depend on the image's size
alone, so the whole model is counted once at each size (`count.py`), and every subnet follows in closed form.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod

from evonas.supernets.base import Cost
from evonas.supernets.elastic_timm.space import Architecture, units_of
from evonas.supernets.elastic_timm.structure import STREAM, WIDTH, Block, Structure
from evonas.supernets.step import Size, Step

# a smaller image's sides are multiples of this, and not below the least where the image has that much
_MULTIPLE, _LEAST = 8, 32


def path(of: Architecture, structure: Structure) -> tuple[Step, ...]:
    """The blocks that run, at (stage, block), and behind those of a stage its level.

    The resolution is part of every step, since it is part of what each one costs, and so are streams of those that
    touch them.
    """
    scale, steps, number = f"r={of.resolution:g}", list[Step](), 0
    kept = units_of(structure, of) if structure.level_axes else {}
    for at, stage in enumerate(structure.stages):
        for inner, block in enumerate(stage.blocks):
            units = of.blocks[number]
            number += 1
            if units is not None:
                label = "/".join([block.name, scale, *_widths(units)])
                steps.append(Step((at, inner), (of.resolution, *units), label))
        own = [kept[each.group] for each in structure.level_axes if each.stage == at]
        label = "/".join([f"level{at + 1}", scale, *_widths(own)])
        steps.append(Step((at, len(stage.blocks)), (of.resolution, *own), label))
    return tuple(steps)


def _widths(units: Sequence[int]) -> list[str]:
    return [f"w={','.join(map(str, units))}"] if units else []


def input_size(structure: Structure, resolution: float, size: Size) -> Size:
    """The sides at which an image is read: all of it as it is, a part in multiples of 8 pixels from 32 on.

    Where tokens are patches of 8 pixels or more, in multiples of patches instead: a multiple of both, such as 56 for
    patches of 14 pixels, would change the aspect ratio of small images and make several parts one size.
    """
    if resolution == 1:
        return size
    first = structure.stages[0]
    is_patched = first.layout == "tokens" and first.stride >= _MULTIPLE
    step = first.stride if is_patched else _MULTIPLE
    height, width = (min(side, max(_LEAST, step, step * round(side * resolution / step))) for side in size)
    return height, width


class Prices:
    """What the steps of a structure cost.

    Args:
        structure: of the model.
        count: multiply-adds of each module of the whole model at a size; called once for each size.
    """

    def __init__(self, structure: Structure, count: Callable[[Structure, Size], Mapping[str, int]]) -> None:
        self._of, self._count = structure, count
        self._sizes: dict[Size, Mapping[str, int]] = {}
        self._tensors = [list(_tensors(structure, block)) for block in structure.blocks]
        starts = [0]
        for stage in structure.stages:
            starts.append(starts[-1] + len(stage.blocks))
        self._starts = starts

    def of(self, step: Step, size: Size) -> Cost:
        """A step's price on an image of this size, given before the network resizes it."""
        stage, inner = step.at
        if inner == len(self._of.stages[stage].blocks):
            return Cost(0, 0)
        number = self._starts[stage] + inner
        block, missing = self._of.blocks[number], self._missing(step)
        macs, total = self._macs(input_size(self._of, float(step.choice[0]), size)), 0
        for name, shape, shrinks, _ in self._tensors[number]:
            owner, _, key = name.rpartition(".")
            if key == "weight" and owner in macs:
                total += macs[owner] // prod(shape) * prod(_shrunk(shape, shrinks, missing))
        for owner, whole in macs.items():
            if f"{owner}.weight" not in self._of.shapes and _is_inside(block, owner):
                group = _group_of(self._of, block, owner)
                units = 1 if group is None else self._of.groups[group].units
                total += whole // units * (units - (0 if group is None else missing[group]))
        return Cost(self.params(step), total)

    def params(self, step: Step) -> int:
        """The trainable numbers of a step that is a block."""
        number, missing = self._starts[step.at[0]] + step.at[1], self._missing(step)
        return sum(
            prod(_shrunk(shape, shrinks, missing))
            for _, shape, shrinks, is_trained in self._tensors[number]
            if is_trained
        )

    def _missing(self, step: Step) -> dict[int, int]:
        """How many units of each group of a block are cut."""
        block = self._of.blocks[self._starts[step.at[0]] + step.at[1]]
        units = map(int, step.choice[1:])
        return {at: self._of.groups[at].units - kept for at, kept in zip(block.groups, units, strict=True)}

    def _macs(self, own: Size) -> Mapping[str, int]:
        if own not in self._sizes:
            self._sizes[own] = self._count(self._of, own)
        return self._sizes[own]


def _shrunk(shape: tuple[int, ...], shrinks: "_Shrinks", missing: Mapping[int, int]) -> list[int]:
    sides = list(shape)
    for group, axis, part in shrinks:
        sides[axis] -= missing[group] * part
    return sides


def _is_inside(block: Block, name: str) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in block.run)


_Shrinks = list[tuple[int, int, int]]


def _tensors(structure: Structure, block: Block) -> Iterator[tuple[str, tuple[int, ...], _Shrinks, bool]]:
    """(name, shape, [(group, axis, positions of a unit)], whether it is trained) of a block's tensors."""
    trained = set(structure.trained)
    shrinks: dict[str, _Shrinks] = {}
    for index in block.groups:
        for axis in structure.groups[index].axes:
            shrinks.setdefault(axis.tensor, []).append((index, axis.axis, len(axis.starts) * axis.length))
    has_method = any(name[:1] == ":" for name in block.run)
    for name, shape in structure.tensors:
        if _is_inside(block, name.rpartition(".")[0]) or (has_method and "." not in name):
            yield name, shape, shrinks.get(name, []), name in trained


def _group_of(structure: Structure, block: Block, owner: str) -> int | None:
    """The group with which products without weights in a module shrink: that of its heads."""
    inside = [
        index
        for index in block.groups
        if structure.groups[index].kind != STREAM
        and any(axis.tensor.startswith(f"{owner}.") for axis in structure.groups[index].axes)
    ]
    heads = [index for index in inside if structure.groups[index].kind != WIDTH] or inside
    return heads[0] if len(heads) == 1 else None
