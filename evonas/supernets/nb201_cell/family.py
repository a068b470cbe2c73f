"""NAS-Bench-201's networks as a supernet family, so that cells can be trained on data sets of one's own.

The benchmark trains every network alone (`fidelity=finetune`, which starts each from the supernet's random weights).
Weights can also be shared and trained together: every edge of every cell has its own weights for each operation.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from evonas.errors import UserError
from evonas.nn.level import Level
from evonas.space.edges import EdgeCell
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import Bar, Cost, Cuts, DrawnStage, Settings
from evonas.supernets.nb201_cell.cost import (
    EDGES,
    END,
    NONE,
    STAGES,
    STEM,
    WORDS,
    NetworkShape,
    description,
    path,
    price,
)
from evonas.supernets.step import Place, Size, Step

if TYPE_CHECKING:
    from torch import Tensor, nn

    from evonas.supernets.adoption import Adoption
    from evonas.supernets.nb201_cell.backbone import NB201Backbone

_STYLES = {"nor_conv_1x1": "s0", "nor_conv_3x3": "s1"}
_NAMES = {
    "skip_connect": "skip",
    "nor_conv_1x1": "1x1",
    "nor_conv_3x3": "3x3",
    "avg_pool_3x3": "pool",
}


class NB201:
    """The family of a space of cells.

    Args:
        space: a space of `edge_cell` with the edges and operations of NAS-Bench-201, or some of these operations.
        channels: channels of the stem and of the first stage; 16 as published.
        cells: number of cells of each stage; 5 as published.
        bn_momentum: momentum of the batch norms.

    Raises:
        UserError: the space has another layout, or an argument is below 1.
    """

    name = "nb201_cell"

    def __init__(self, space: Space, channels: int = 16, cells: int = 5, bn_momentum: float = 0.1) -> None:
        is_cell = isinstance(space, EdgeCell) and space.edges == EDGES
        if not is_cell or any(set(axis.choices) - set(WORDS) for axis in space.axes):
            raise UserError(
                f"Space {space.name} is not one of NAS-Bench-201's cells: its genes are {', '.join(space.spans)}.",
                "Leave space= out: a network brings its own. Or choose space=nb201.",
            )
        for key, value in (("channels", channels), ("cells", cells)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(
                    f"network.{key} must be an integer from 1, got {value}.",
                    "Try network.channels=16 network.cells=5.",
                )
        self.space, self.shape, self.momentum = space, NetworkShape(channels, cells), bn_momentum

    @property
    def levels(self) -> tuple[Level, ...]:
        """The outputs of the stages, at strides 1, 2 and 4."""
        return self.shape.levels

    @cached_property
    def places(self) -> Mapping[Place, tuple[str, ...]]:
        """All places; the operation of an edge depends on its gene alone."""
        found: dict[Place, tuple[str, ...]] = {STEM: ()}
        for stage in range(1, STAGES + 1):
            if stage > 1:
                found[stage, 0, 0] = ()
            for cell in range(1, self.shape.cells + 1):
                found |= {(stage, cell, edge): (axis.name,) for edge, axis in enumerate(self.space.axes)}
        return {**found, END: ()}

    def words(self, genotype: Genotype) -> tuple[str, ...]:
        """The operations of a cell's edges."""
        values = self.space.decode(genotype)
        return tuple(values[axis.name] for axis in self.space.axes)

    def path(self, genotype: Genotype) -> tuple[Step, ...]:
        return path(self.words(genotype), self.shape)

    def price(self, step: Step, size: Size) -> Cost:
        return price(step, self.shape, size)

    def input_size(self, genotype: Genotype, size: Size) -> Size:  # noqa: ARG002
        return size

    def features(self, genotype: Genotype) -> list[float]:
        """1, and how many edges have each operation but none."""
        words = self.words(genotype)
        return [1.0, *(float(words.count(word)) for word in WORDS if word != NONE)]

    def describe(self, genotype: Genotype) -> dict[str, Any]:
        return description(self.words(genotype), self.shape)

    def draw(self, genotype: Genotype) -> tuple[DrawnStage, ...]:
        """Every cell, with a bar for each edge that has an operation, after the stem or the reduction."""
        words = self.words(genotype)
        drawn = []
        for stage in range(1, STAGES + 1):
            width = self.shape.width(stage)
            first = (Bar("s2", "stem" if stage == 1 else "reduction", width),)
            bars = tuple(
                Bar(_STYLES.get(word, "s2"), f"{start}-{end} {_NAMES[word]}", width)
                for word, (start, end) in zip(words, EDGES, strict=True)
                if word != NONE
            )
            blocks = (first, *[bars or None] * self.shape.cells)
            drawn.append(DrawnStage(width, (f"{width} ch", f"{self.shape.cells} cells"), blocks))
        return tuple(drawn)

    def build(self, genotype: Genotype | None, seed: int | None) -> "NB201Backbone":
        from evonas.supernets.nb201_cell.backbone import NB201Backbone

        if genotype is not None:
            return NB201Backbone(self.words(genotype), self.shape, None, self.momentum, seed)
        held = [tuple(map(str, axis.choices)) for axis in self.space.axes]
        return NB201Backbone(self.words(self.space.largest()), self.shape, held, self.momentum, seed)

    def cuts(self, genotype: Genotype) -> Cuts:  # noqa: ARG002
        return {}

    def absent(self, genotype: Genotype) -> frozenset[str]:
        chosen = list(enumerate(zip(self.space.axes, self.words(genotype), strict=True)))
        return frozenset(
            f"stages.{stage}.{cell}.edges.{edge}.{word}"
            for stage in range(STAGES)
            for cell in range(self.shape.cells)
            for edge, (axis, own) in chosen
            for word in axis.choices
            if word not in (own, NONE)
        )

    def settings(self, genotype: Genotype) -> Settings:  # noqa: ARG002
        return {}

    def adopt(self, net: "nn.Module", found: Mapping[str, "Tensor"], widening: str) -> "Adoption":
        from evonas.supernets.adoption import adopt_equal

        return adopt_equal(net, found, widening)
