"""Head for 3D Gaussians, with parameters per cell, and the layout of its channels.

Legend: B batch, V views, C channels, D planes, F features, P parameters of a Gaussian, H W space. A cell is a square
of pixels with the finest level's stride as side.
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

# parameters of a Gaussian: depth 1, opacity 1, scale 3, rotation 4, colour 3
NUMBERS = 12


class Raw(NamedTuple):
    """The output channels of one item by meaning.

    Args:
        planes: score of each depth plane from a single view.
        features: features that are matched between views.
        numbers: parameters of each Gaussian, on a finer grid than the cells.
    """

    planes: Float[Tensor, "V D H_cell W_cell"]
    features: Float[Tensor, "V F H_cell W_cell"]
    numbers: Float[Tensor, "V P H_fine W_fine"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Number and meaning of the channels of a cell.

    Args:
        planes: depth planes, evenly spaced in inverse depth.
        features: channels that are matched between views.
        every: pixels between Gaussians, per row and column; it divides the stride.

    Raises:
        UserError: a number is too small.
    """

    planes: int = 32
    features: int = 16
    every: int = 1

    def __post_init__(self) -> None:
        if self.planes < 2 or self.features < 1 or self.every < 1:
            raise UserError(
                f"planes must be at least 2, features and every at least 1, got {self}.", "Check +task=splat."
            )

    def channels(self, stride: int) -> int:
        """Number of channels of a head whose finest level has this stride.

        Raises:
            UserError: `every` does not divide the stride.
        """
        if stride % self.every:
            raise UserError(
                f"task.every={self.every} does not divide the stride {stride}.", "Try task.every=1."
            )
        return self.planes + self.features + NUMBERS * (stride // self.every) ** 2

    def read(self, cells: Float[Tensor, "C H_cell VW_cell"], views: int) -> Raw:
        """Splits the channels of one item whose views are side by side."""
        apart = cells.unflatten(-1, (views, -1)).permute(2, 0, 1, 3)
        rest = cells.shape[0] - self.planes - self.features
        planes, features, numbers = apart.split([self.planes, self.features, rest], dim=1)
        return Raw(planes, features, F.pixel_shuffle(numbers, round((rest / NUMBERS) ** 0.5)))


class GaussianHead(DenseHead):
    """The decoder of `DenseHead`, with one output per cell of the finest level, without interpolation.

    Args:
        levels: levels of the backbone, finest first.
        out_channels: channels of a cell; see `Layout.channels`.
        width: channels of all decoder maps.
        seed: seed of the random weights.
    """

    def __init__(self, levels: Sequence[Level], out_channels: int, width: int = 48, seed: int = 0) -> None:
        super().__init__(levels, out_channels, width=width, seed=seed)

    @property
    def settings(self) -> dict[str, Any]:
        """Constructor keywords except `levels` and `seed`, as JSON data."""
        return {"out_channels": self.predict.out_channels, "width": self.predict.in_channels}

    def forward(self, levels: list[Tensor]) -> Float[Tensor, "B C_out H_cell W_cell"]:
        """The channels of all cells, from maps finest first."""
        return self.cells(levels)
