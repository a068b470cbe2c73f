"""Strip pooling: long-range context for the coarsest map.

Legend: B batch, C channels, H W space.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class StripPooling(nn.Module):
    """relu(x + mix(squares, strips)), the mixed pooling module of SPNet (arXiv 2003.13328).

    One branch combines the map with averages over grids of cells, the other averages over whole rows and columns;
    both have a quarter of the channels.

    Args:
        dim: C, a multiple of 4.
        pool_sizes: cells per side of each grid; a smaller map repeats cells.
        momentum: momentum of the batch norms.
    """

    def __init__(self, dim: int, pool_sizes: Sequence[int] = (20, 12), momentum: float = 0.1) -> None:
        super().__init__()
        quarter, self.pool_sizes = dim // 4, tuple(pool_sizes)

        def conv(in_dim: int, out_dim: int, height: int, width: int) -> nn.Sequential:
            padding = height // 2, width // 2
            layer = nn.Conv2d(in_dim, out_dim, (height, width), padding=padding, bias=False)
            return nn.Sequential(layer, nn.BatchNorm2d(out_dim, momentum=momentum))

        self.enter_squares, self.enter_strips = conv(dim, quarter, 1, 1), conv(dim, quarter, 1, 1)
        self.near = conv(quarter, quarter, 3, 3)
        self.grids = nn.ModuleList(conv(quarter, quarter, 3, 3) for _ in self.pool_sizes)
        self.row, self.column = conv(quarter, quarter, 1, 3), conv(quarter, quarter, 3, 1)
        self.leave_squares, self.leave_strips = conv(quarter, quarter, 3, 3), conv(quarter, quarter, 3, 3)
        self.mix = conv(2 * quarter, dim, 1, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Maps of any size; in training the batch needs more than one position."""
        squares = self.leave_squares(self._squares(F.relu(self.enter_squares(x)))).relu()
        strips = self.leave_strips(self._strips(F.relu(self.enter_strips(x)))).relu()
        return F.relu(x + self.mix(torch.cat([squares, strips], dim=1)))

    def _squares(self, x: Tensor) -> Tensor:
        total = self.near(x)
        for size, grid in zip(self.pool_sizes, self.grids, strict=True):
            cells = grid(_average(x, size))
            total = total + F.interpolate(cells, size=x.shape[-2:], mode="bilinear", align_corners=True)
        return F.relu(total)

    def _strips(self, x: Tensor) -> Tensor:
        row = self.row(x.mean(dim=2, keepdim=True))
        column = self.column(x.mean(dim=3, keepdim=True))
        return F.relu(row + column)


def _average(x: Tensor, size: int) -> Tensor:
    """Adaptive average pooling to size x size as two matrix products, whose gradient is deterministic on any device."""
    rows, columns = (_cells(side, size, x) for side in x.shape[-2:])
    return rows @ x @ columns.T


def _cells(side: int, size: int, like: Tensor) -> Tensor:
    """[size, side]: cell i averages the positions from floor(i side / size) to ceil((i + 1) side / size)."""
    index, position = (torch.arange(count, device=like.device) for count in (size, side))
    index = index.unsqueeze(1)
    inside = ((position >= index * side // size) & (position * size < (index + 1) * side)).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)
