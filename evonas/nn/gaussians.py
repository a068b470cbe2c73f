"""What a head says about Gaussians, cell by cell, and how its channels are read.

Legend: B batch, V views, C channels, D planes, F features, P numbers of a Gaussian, H W space; a cell is a
square of pixels, as large as the finest level's stride.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from evonas.errors import UserError
from evonas.nn.heads import DenseHead
from evonas.nn.level import Level

# of one Gaussian: depth 1, opacity 1, scale 3, rotation 4, colour 3
NUMBERS = 12


class Raw(NamedTuple):
    """The channels of one item, sorted.

    Args:
        planes: a score for each depth, as far as one view alone can tell.
        features: compared between the views.
        numbers: of each Gaussian, whose grid is finer than the cells.
    """

    planes: Float[Tensor, "V D H_cell W_cell"]
    features: Float[Tensor, "V F H_cell W_cell"]
    numbers: Float[Tensor, "V P H_fine W_fine"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How many channels a cell has and what they are.

    Args:
        planes: depths that are compared, evenly spaced in inverse depth.
        features: channels that are compared between views.
        every: pixels from one Gaussian to the next, by row and column; it divides the stride.
    """

    planes: int = 32
    features: int = 16
    every: int = 1

    def __post_init__(self) -> None:
        if self.planes < 2 or self.features < 1 or self.every < 1:
            raise UserError(
                f"{self} cannot place Gaussians.", "Two planes, one feature, every=1 are the least."
            )

    def channels(self, stride: int) -> int:
        """Of a head whose finest level has this stride."""
        if stride % self.every:
            raise UserError(
                f"task.every={self.every} does not divide the stride {stride}.", "Try task.every=1."
            )
        return self.planes + self.features + NUMBERS * (stride // self.every) ** 2

    def read(self, cells: Float[Tensor, "C H_cell VW_cell"], views: int) -> Raw:
        """The channels of one item, whose views lie side by side."""
        apart = cells.unflatten(-1, (views, -1)).permute(2, 0, 1, 3)
        rest = cells.shape[0] - self.planes - self.features
        planes, features, numbers = apart.split([self.planes, self.features, rest], dim=1)
        return Raw(planes, features, F.pixel_shuffle(numbers, round((rest / NUMBERS) ** 0.5)))


class GaussianHead(DenseHead):
    """The decoder of `DenseHead` that answers once a cell of the finest level and is not interpolated.

    Args:
        levels: what the backbone yields, finest first.
        out_channels: of a cell; see `Layout.channels`.
        width: channels inside.
        seed: of the random weights.
    """

    def __init__(self, levels: Sequence[Level], out_channels: int, width: int = 48, seed: int = 0) -> None:
        super().__init__(levels, out_channels, width=width, seed=seed)

    @property
    def settings(self) -> dict[str, Any]:
        """The keywords besides `levels` and `seed` that make such a head again, as plain numbers."""
        return {"out_channels": self.predict.out_channels, "width": self.predict.in_channels}

    def forward(self, levels: list[Tensor]) -> Float[Tensor, "B C_out H_cell W_cell"]:
        """Args: levels: maps finest first."""
        return self.cells(levels)
