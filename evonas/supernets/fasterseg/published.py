"""Published networks of the space, for 19 classes: FasterSeg (arXiv 1912.10917), and its teacher."""

from dataclasses import dataclass
from types import MappingProxyType

from evonas.supernets.fasterseg.space import Architecture, Cell

# the published numbers of operators; 0 is a layer that is left out
PUBLISHED_OPERATORS = ("skip", "conv", "zoom", "conv2", "zoom2")


@dataclass(frozen=True, slots=True)
class PublishedBranch:
    """A branch.

    Args:
        layers: its layers.
        downs: those that halve its map.
        operators: published number of the operator of each layer.
        widths: output of each layer but the last, in twelfths.
    """

    layers: tuple[int, ...]
    downs: tuple[int, ...]
    operators: tuple[int, ...]
    widths: tuple[int, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells."""
        return tuple(
            Cell(
                layer,
                sum(down < layer for down in self.downs),
                layer in self.downs,
                PUBLISHED_OPERATORS[operator],
                width,
            )
            for layer, operator, width in zip(self.layers, self.operators, (*self.widths, None), strict=True)
        )


@dataclass(frozen=True, slots=True)
class Published:
    """A published network: its branches, and the width of stem and head in twelfths."""

    branches: tuple[PublishedBranch, PublishedBranch]
    width: int

    @property
    def architecture(self) -> Architecture:
        """The architecture."""
        first, second = self.branches
        return Architecture((2, len(second.downs)), (first.cells, second.cells))


# The operators of the teacher's second branch at layers 5, 14 and 15, which its first branch does not pass at stride
# 16, are one conv2 and two zoom2 by its published parameters and multiply-adds; their order is an assumption.
PUBLISHED = MappingProxyType(
    {
        "fasterseg": Published(
            (
                PublishedBranch(
                    (0, 1, 3, 9, 10, 11, 12, 13, 14, 15),
                    (9, 13),
                    (3, 3, 4, 2, 4, 4, 4, 4, 4, 4),
                    (4, 4, 4, 8, 4, 4, 4, 4, 4),
                ),
                PublishedBranch(
                    (0, 1, 3, 10, 11, 12, 13, 14, 15),
                    (12,),
                    (3, 3, 4, 4, 3, 3, 4, 4, 4),
                    (4, 4, 4, 4, 4, 4, 4, 12),
                ),
            ),
            8,
        ),
        "fasterseg_teacher": Published(
            (
                PublishedBranch(
                    tuple(range(16)), (5, 13), (2, 4, 4, 4, 4, 4, 4, 2, 4, 4, 4, 4, 4, 4, 3, 3), (12,) * 15
                ),
                PublishedBranch(
                    tuple(range(16)), (4,), (2, 4, 4, 4, 4, 4, 4, 2, 4, 4, 4, 4, 4, 4, 4, 3), (12,) * 15
                ),
            ),
            12,
        ),
    }
)
