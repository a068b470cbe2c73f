"""Cross-attention projector of CA-DDKD: maps student features to the teacher's channels and resolution.

Legend: B batch, S student channels, T teacher channels, H W teacher resolution, h w student resolution, L tokens.
Learnt queries attend to the student's features; this is the "dynamic resolution" variant of CA-DDKD, in which the
learnt grids are resized.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Projector(nn.Module):
    """Cross-attention projector.

    Keys and values are ReLU(BN(conv3x3(student))) + position grid; queries are ReLU(linear(query grid)). Attention
    is followed by LayerNorm and a residual feed-forward network.

    Args:
        student_channels: S.
        teacher_channels: T, the width of queries and output.
        heads: attention heads.
        head_dim: channels per head.
        expansion: hidden width of the feed-forward network as a multiple of T.
        query_grid: rows and columns of the learnt queries.
        position_grid: rows and columns of the learnt positions of the student.
        sharpness: factor on the scaled attention scores.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        heads: int = 16,
        head_dim: int = 64,
        expansion: float = 4.0,
        query_grid: tuple[int, int] = (14, 19),
        position_grid: tuple[int, int] = (11, 38),
        sharpness: float = 5.0,
    ) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads, self.scale = heads, sharpness * head_dim**-0.5
        self.keys = nn.Sequential(
            nn.Conv2d(student_channels, student_channels, 3, padding=1),
            nn.BatchNorm2d(student_channels),
            nn.ReLU(),
        )
        self.positions = nn.Parameter(torch.empty(1, student_channels, *position_grid))
        self.query_grid = nn.Parameter(torch.empty(1, teacher_channels, *query_grid))
        self.query = nn.Sequential(nn.Linear(teacher_channels, teacher_channels), nn.ReLU())
        self.to_q = nn.Linear(teacher_channels, inner, bias=False)
        self.to_kv = nn.Linear(student_channels, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, teacher_channels)
        self.norm = nn.LayerNorm(teacher_channels)
        hidden = int(expansion * teacher_channels)
        self.feed_forward = nn.Sequential(
            nn.Linear(teacher_channels, hidden), nn.ReLU(), nn.Linear(hidden, teacher_channels)
        )
        nn.init.trunc_normal_(self.positions, std=0.02)
        nn.init.normal_(self.query_grid)

    def forward(self, student: Float[Tensor, "B S h w"], size: tuple[int, int]) -> Float[Tensor, "B T H W"]:
        """Projects a student map to the teacher's channels at `size` (rows, columns)."""
        tokens = _tokens(self.keys(student) + _resized(self.positions, student.shape[-2:]))
        queries = self.query(_tokens(_resized(self.query_grid, size))).expand(len(student), -1, -1)
        mixed = self.norm(self._attend(queries, tokens))
        return (mixed + self.feed_forward(mixed)).transpose(1, 2).unflatten(-1, size)

    def _attend(
        self, queries: Float[Tensor, "B Q T"], tokens: Float[Tensor, "B L S"]
    ) -> Float[Tensor, "B Q T"]:
        keys, values = self.to_kv(tokens).chunk(2, dim=-1)
        # B L I to B N L P, with I = N P for N heads
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.to_q(queries), keys, values)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        attended: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return attended


def _resized(grid: Float[Tensor, "1 C H W"], size: Sequence[int]) -> Float[Tensor, "1 C H2 W2"]:
    height, width = size
    if grid.shape[-2:] == (height, width):
        return grid
    return F.interpolate(grid, size=(height, width), mode="bilinear", align_corners=False)


def _tokens(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B L C"]:
    return x.flatten(2).transpose(1, 2)
