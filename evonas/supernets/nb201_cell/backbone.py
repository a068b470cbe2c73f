"""The backbone of NAS-Bench-201 (Dong and Yang, ICLR 2020, section 2 and figure 1), run edge by edge.

A stem, three stages of equal cells, and before the second and the third a residual block that halves the resolution and
doubles the channels; a batch norm and ReLU end it. Edges have weights of their own in every cell.

Legend: B batch, C channels, H W space.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.initialise import uninitialised
from evonas.supernets.backbone import Activation, Backbone
from evonas.supernets.nb201_cell.cost import (
    EDGES,
    END,
    KERNELS,
    NONE,
    OUTPUT,
    STAGES,
    STEM,
    WORDS,
    NetworkShape,
    description,
    path,
)


@dataclass(frozen=True, slots=True)
class InCell(Activation):
    """State within a cell, whose input is `map`.

    Args:
        nodes: the sums at nodes 1 to 3 so far; None where nothing has arrived, which means zeros.
    """

    nodes: tuple[Tensor | None, ...] = (None,) * OUTPUT


class Cell(nn.Module):
    """The operations of a cell's edges, by edge and word; `none` has no module.

    Args:
        words: the words of each edge: one of a network, all of the supernet.
        width: channels.
        momentum: momentum of the batch norms.
    """

    def __init__(self, words: Sequence[Sequence[str]], width: int, momentum: float) -> None:
        super().__init__()
        self.edges = nn.ModuleList(
            nn.ModuleDict({word: _operation(word, width, momentum) for word in given if word != NONE})
            for given in words
        )


class Reduction(nn.Module):
    """The residual block between stages: two 3x3 convolutions beside average pooling and a 1x1 convolution."""

    def __init__(self, given: int, width: int, momentum: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolved(given, width, 3, 2, momentum), _convolved(width, width, 3, 1, momentum)
        )
        # odd sides are rounded up, as by the strided convolution
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(given, width, 1, bias=False))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        added: Tensor = self.shortcut(x) + self.body(x)
        return added


class NB201Backbone(Backbone):
    """Maps images to the outputs of the three stages, at strides 1, 2 and 4; the last one after norm and ReLU.

    Args:
        words: operations of the edges 0->1, 0->2, 1->2, 0->3, 1->3, 2->3, the same in every cell.
        shape: the sizes that are not searched.
        held: words of each edge that have weights; None for those of `words`. A supernet has all.
        momentum: momentum of the batch norms.
        seed: seed of the random weights; None leaves them uninitialised, to be loaded.
    """

    def __init__(
        self,
        words: tuple[str, ...],
        shape: NetworkShape,
        held: Sequence[Sequence[str]] | None = None,
        momentum: float = 0.1,
        seed: int | None = 0,
    ) -> None:
        super().__init__(path(words, shape), shape.levels, partial(description, words, shape))
        self.cells_of_stage = shape.cells
        widths = [shape.width(stage) for stage in range(1, STAGES + 1)]
        given = [[word] for word in words] if held is None else held
        with uninitialised(self, seed):
            self.stem = nn.Sequential(
                nn.Conv2d(3, shape.channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(shape.channels, momentum=momentum),
            )
            self.reductions = nn.ModuleList(Reduction(width // 2, width, momentum) for width in widths[1:])
            self.stages = nn.ModuleList(
                nn.ModuleList(Cell(given, width, momentum) for _ in range(shape.cells)) for width in widths
            )
            self.last = nn.BatchNorm2d(widths[-1], momentum=momentum)

    def parts(self, index: int) -> tuple[nn.Module, ...]:
        step = self.path[index]
        stage, cell, edge = step.at
        if step.at == STEM:
            return (self.stem,)
        if step.at == END:
            return (self.last,)
        if cell == 0:
            return (self.reductions[stage - 2],)
        word = str(step.choice[0])
        if word == NONE:
            return ()
        cells = cast(nn.ModuleList, self.stages[stage - 1])
        operations = cast(nn.ModuleDict, cast(Cell, cells[cell - 1]).edges[edge])
        return (operations[word],)

    def run(self, index: int, at: Activation) -> Activation:
        step, parts = self.path[index], self.parts(index)
        if step.at == STEM:
            return Activation(parts[0](at.map.contiguous(memory_format=torch.channels_last)))
        if step.at == END:
            found = F.relu(parts[0](at.map))
            return Activation(found, (*at.levels, found))
        if step.at[1] == 0:
            return Activation(parts[0](at.map), (*at.levels, at.map))
        return self._edge(step.at[2], parts, at)

    def _edge(self, edge: int, parts: Sequence[nn.Module], at: Activation) -> Activation:
        """The state after an edge; after the last one the cell's output is the map."""
        state = at if isinstance(at, InCell) else InCell(at.map, at.levels)
        start, end = EDGES[edge]
        nodes = list(state.nodes)
        if parts:
            source = state.map if start == 0 else nodes[start - 1]
            added = parts[0](torch.zeros_like(state.map) if source is None else source)
            before = nodes[end - 1]
            nodes[end - 1] = added if before is None else before + added
        if edge < len(EDGES) - 1:
            return replace(state, nodes=tuple(nodes))
        output = nodes[OUTPUT - 1]
        return Activation(torch.zeros_like(state.map) if output is None else output, state.levels)


def restore(description: dict[str, Any]) -> NB201Backbone:
    """A backbone from its description; see `families.restore`."""
    words, network = tuple(description["architecture"]["words"]), description["network"]
    if len(words) != len(EDGES) or set(words) - set(WORDS):
        raise ValueError(f"{words} are not the operations of a cell")
    return NB201Backbone(words, NetworkShape(**network), seed=None)


def _convolved(given: int, width: int, kernel: int, stride: int, momentum: float) -> nn.Sequential:
    """ReLU, convolution without bias and batch norm, in the benchmark's order."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(given, width, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(width, momentum=momentum),
    )


def _operation(word: str, width: int, momentum: float) -> nn.Module:
    if word in KERNELS:
        return _convolved(width, width, KERNELS[word], 1, momentum)
    if word == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)
    return nn.Identity()
