"""The backbone of FasterSeg: stem, two branches of cells, and what joins them at stride 8.

All bilinear interpolation is between the corners' centres. What follows from the path is never read from sizes: strides
are those of the steps.

Legend: B batch, C channels, H W space.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.fcn_head import ConvBNReLU, FanInConv2d, interpolated
from evonas.nn.initialise import uninitialised
from evonas.supernets.backbone import Activation, Backbone
from evonas.supernets.fasterseg.cost import (
    COMMON,
    END,
    FIRST,
    SECOND,
    STEM,
    CellShape,
    NetworkShape,
    description,
    input_size,
    joined,
    path,
    shapes,
)
from evonas.supernets.fasterseg.space import STRIDE, Architecture, Cell
from evonas.supernets.step import Step


@dataclass(frozen=True, slots=True)
class TwoBranches(Activation):
    """State between two steps.

    Args:
        finer: inputs of the halving cells of the branch that runs, finest first.
        parting: the map and `finer` where the second branch begins.
        first: the first branch, joined with its finer maps at stride 8.
        sides: maps at strides 16 and 32 that auxiliary heads read, as far as they are known: the first branch's.
    """

    finer: tuple[Tensor, ...] = ()
    parting: tuple[Tensor, tuple[Tensor, ...]] | None = None
    first: Tensor | None = None
    sides: tuple[Tensor, ...] = ()


class Operator(nn.Module):
    """The operator of a cell: one or two 3x3 convolutions, on the map or on half of it.

    Args:
        of: channels, and what the operator does.
        momentum: momentum of the batch norms.
    """

    def __init__(self, of: CellShape, momentum: float) -> None:
        super().__init__()
        self.is_zoomed, self.is_down = of.is_zoomed, of.is_down
        stride = 2 if of.is_down and not of.is_zoomed else 1
        self.conv1 = FanInConv2d(of.given, of.out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(of.out, momentum=momentum)
        self.is_double = of.is_double
        if of.is_double:
            self.conv2 = FanInConv2d(of.out, of.out, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(of.out, momentum=momentum)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        height, width = x.shape[-2:]
        if self.is_zoomed:
            x = interpolated(x, (height // 2, width // 2))
        x = self.bn1(self.conv1(x))
        if self.is_double:
            x = self.bn2(self.conv2(F.relu(x)))
        if self.is_zoomed and not self.is_down:
            x = interpolated(x, (height, width))
        return F.relu(x)


class Join(nn.Module):
    """Brings a branch's output to stride 8, joined with the last maps of the branch at finer strides.

    Args:
        target: scale of the output.
        shape: what is not searched.
        channels: of the finer maps, finest first.
        momentum: momentum of the batch norms.
    """

    def __init__(self, target: int, shape: NetworkShape, channels: Sequence[int], momentum: float) -> None:
        super().__init__()
        given = [shape.at(scale, shape.head_width) for scale in range(target + 1)]
        self.arms = nn.ModuleList(
            ConvBNReLU(given[scale + 1], given[scale], 1, momentum=momentum) for scale in range(target)
        )
        self.refines = nn.ModuleList(
            ConvBNReLU(given[scale] + channels[scale], given[scale], 3, momentum=momentum)
            for scale in range(target)
        )

    def forward(self, x: Float[Tensor, "B C H W"], finer: Sequence[Tensor]) -> Float[Tensor, "B C2 H2 W2"]:
        for scale in reversed(range(len(self.arms))):
            x = interpolated(self.arms[scale](x), finer[scale].shape[-2:])
            x = self.refines[scale](torch.cat([x, finer[scale]], 1))
        return x


def cell_name(branch: int, cell: Cell) -> str:
    """The name of a cell's module: layer 4 of the first branch at stride 8 is a4_8_conv2, or a4_8down_conv2."""
    return (
        f"{'ab'[branch]}{cell.layer}_{STRIDE << cell.scale}{'down' if cell.is_down else ''}_{cell.operator}"
    )


class FasterSegBackbone(Backbone):
    """Maps images whose sides are multiples of 64 to the levels of `NetworkShape.levels`.

    Args:
        steps: the path.
        shape: what is not searched.
        cells: shapes of all cells by name.
        joins: channels of the finer maps that the output of each branch is joined with.
        describe: see `Backbone`.
        momentum: momentum of the batch norms.
        seed: seed of the random weights; None leaves them uninitialised, to be loaded.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        shape: NetworkShape,
        cells: Iterable[tuple[str, CellShape]],
        joins: Sequence[Sequence[int]],
        describe: "partial[dict[str, Any]]",
        momentum: float = 0.1,
        seed: int | None = 0,
    ) -> None:
        super().__init__(steps, shape.levels, describe, input_size)
        self.shape = shape
        block = partial(ConvBNReLU, momentum=momentum)
        one, two, three = shape.stem
        with uninitialised(self, seed):
            self.stem = nn.Sequential(
                block(3, one, 3, 2), block(one, two, 3, 2), block(two, two, 3), block(two, three, 3, 2),
                block(three, three, 3),
            )  # fmt: skip
            self.cells = nn.ModuleDict({name: Operator(each, momentum) for name, each in cells})
            self.joins = nn.ModuleList(
                Join(target, shape, channels, momentum)
                for target, channels in zip(shape.targets, joins, strict=True)
            )
            self.join = block(shape.fused, shape.fused, 1)

    def parts(self, index: int) -> tuple[nn.Module, ...]:
        step = self.path[index]
        place, layer = step.at
        if place == STEM:
            return (self.stem,)
        if place == END:
            return (self.join,)
        branch = int(place == SECOND)
        if layer == self.shape.layers:
            return (self.joins[branch],)
        operator, scale, is_down, *_ = step.choice
        cell = Cell(layer, int(scale), bool(is_down), str(operator), None)
        return (self.cells[cell_name(branch, cell)],)

    def run(self, index: int, at: Activation) -> Activation:
        state = at if isinstance(at, TwoBranches) else TwoBranches(at.map)
        place, layer = self.path[index].at
        part, x = self.parts(index)[0], state.map
        if place == STEM:
            return TwoBranches(part(x))
        if place == END:
            return self._levels(state, part)
        if place == FIRST and self.path[index - 1].at[0] <= COMMON:
            state = replace(state, parting=(x, state.finer))
        if layer < self.shape.layers:
            is_down = self.path[index].choice[2]
            return replace(state, map=part(x), finer=(*state.finer, x) if is_down else state.finer)
        found = part(x, state.finer)
        if place == FIRST:
            assert state.parting is not None
            begin, finer = state.parting
            return TwoBranches(begin, (), finer, None, found, (state.finer[1], x))
        return replace(state, map=found, sides=(*state.sides, x))

    def _levels(self, state: TwoBranches, join: nn.Module) -> Activation:
        assert state.first is not None
        middle, coarse, output = state.sides
        wanted = self.shape.at(1, self.shape.widest)
        if middle.shape[1] < wanted:
            middle = F.pad(middle, (0, 0, 0, 0, 0, wanted - middle.shape[1]))
        if self.shape.targets[1] == 1:
            middle = torch.cat([middle, output], 1)
        found = join(torch.cat([state.first, state.map], 1))
        return Activation(found, (found, middle, coarse))


def static_backbone(
    of: Architecture, shape: NetworkShape, momentum: float, seed: int | None
) -> FasterSegBackbone:
    """The backbone of an architecture, with its own tensors."""
    cells: list[tuple[str, CellShape]] = []
    for branch in range(2):
        start = of.shared if branch else 0
        found = zip(of.branches[branch], shapes(of, shape, branch), strict=True)
        cells += [(cell_name(branch, cell), each) for cell, each in found][start:]
    joins = [joined(of, shape, branch) for branch in range(2)]
    return FasterSegBackbone(
        path(of, shape), shape, cells, joins, partial(description, of, shape), momentum, seed
    )


def restore(description: dict[str, Any]) -> FasterSegBackbone:
    """A backbone from its description; see `families.restore`."""
    given, network = description["architecture"], dict(description["network"])
    first, second = (tuple(Cell(**cell) for cell in branch) for branch in given["branches"])
    targets = int(given["targets"][0]), int(given["targets"][1])
    shape = NetworkShape(**{**network, "targets": targets})
    return static_backbone(Architecture(targets, (first, second)), shape, 0.1, None)
