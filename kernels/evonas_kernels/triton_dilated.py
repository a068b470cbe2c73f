"""A depthwise convolution of a few taps that lie far apart, edges repeated, in Triton; with both its slopes.

Tensors are contiguous: x B H W C (channels last), taps T C, places T 2 (rows and columns away, int32). Sums
are float32. A program makes a tile of BH x BW positions and BC channels; neighbouring taps find their
values in the nearest cache.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

# the farthest a tap may be
REACH = 5
SIZES = {"BH": 8, "BW": 16, "BC": 32}


@triton.jit
def _tile(width, BH: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr):
    """Rows, columns and channels of this program."""
    across, at = tl.cdiv(width, BW), tl.arange(0, BH * BW)
    row = tl.program_id(0) // across * BH + at // BW
    column = tl.program_id(0) % across * BW + at % BW
    return row, column, tl.program_id(1) * BC + tl.arange(0, BC)


@triton.jit
def _gather(
    x,
    taps,
    places,
    y,
    H,
    W,
    C,
    TAPS: tl.constexpr,
    BH: tl.constexpr,
    BW: tl.constexpr,
    BC: tl.constexpr,
):
    """y = the sum over taps of weight times the value at its place, or at the edge that is nearest to it."""
    item = tl.program_id(2).to(tl.int64)
    row, column, channel = _tile(W, BH, BW, BC)
    is_channel = channel[None, :] < C
    found = tl.zeros((BH * BW, BC), dtype=tl.float32)
    for tap in range(TAPS):
        weight = tl.load(taps + tap * C + channel, mask=channel < C, other=0.0).to(tl.float32)
        there = tl.minimum(tl.maximum(row + tl.load(places + 2 * tap), 0), H - 1)
        beside = tl.minimum(tl.maximum(column + tl.load(places + 2 * tap + 1), 0), W - 1)
        at = ((item * H + there) * W + beside)[:, None] * C + channel[None, :]
        found += weight[None, :] * tl.load(x + at, mask=is_channel, other=0.0).to(tl.float32)
    at = ((item * H + row) * W + column)[:, None] * C + channel[None, :]
    is_here = ((row < H) & (column < W))[:, None] & is_channel
    tl.store(y + at, found.to(y.dtype.element_ty), mask=is_here)


@triton.jit
def _scatter(
    of_y,
    taps,
    places,
    of_x,
    H,
    W,
    C,
    REACH: tl.constexpr,
    TAPS: tl.constexpr,
    BH: tl.constexpr,
    BW: tl.constexpr,
    BC: tl.constexpr,
):
    """The slope of a map that was widened by REACH on all sides, so that no tap left it."""
    item = tl.program_id(2).to(tl.int64)
    row, column, channel = _tile(W + 2 * REACH, BH, BW, BC)
    is_channel = channel[None, :] < C
    found = tl.zeros((BH * BW, BC), dtype=tl.float32)
    for tap in range(TAPS):
        weight = tl.load(taps + tap * C + channel, mask=channel < C, other=0.0).to(tl.float32)
        there = row - REACH - tl.load(places + 2 * tap)
        beside = column - REACH - tl.load(places + 2 * tap + 1)
        is_inside = (there >= 0) & (there < H) & (beside >= 0) & (beside < W)
        at = ((item * H + there) * W + beside)[:, None] * C + channel[None, :]
        slope = tl.load(of_y + at, mask=is_inside[:, None] & is_channel, other=0.0)
        found += weight[None, :] * slope.to(tl.float32)
    wide = W + 2 * REACH
    at = ((item * (H + 2 * REACH) + row) * wide + column)[:, None] * C + channel[None, :]
    is_here = ((row < H + 2 * REACH) & (column < wide))[:, None] & is_channel
    tl.store(of_x + at, found, mask=is_here)


@triton.jit
def _correlate(
    x,
    of_y,
    places,
    of_taps,
    H,
    W,
    C,
    TAPS: tl.constexpr,
    BH: tl.constexpr,
    BW: tl.constexpr,
    BC: tl.constexpr,
):
    """of_taps[item, tile, tap] = the sum over the tile of slope times the value at the tap's place."""
    item, tile = tl.program_id(2).to(tl.int64), tl.program_id(0)
    row, column, channel = _tile(W, BH, BW, BC)
    is_channel = channel[None, :] < C
    at = ((item * H + row) * W + column)[:, None] * C + channel[None, :]
    is_here = ((row < H) & (column < W))[:, None] & is_channel
    slope = tl.load(of_y + at, mask=is_here, other=0.0).to(tl.float32)
    place = (item * tl.num_programs(0) + tile) * TAPS
    for tap in range(TAPS):
        there = tl.minimum(tl.maximum(row + tl.load(places + 2 * tap), 0), H - 1)
        beside = tl.minimum(tl.maximum(column + tl.load(places + 2 * tap + 1), 0), W - 1)
        at = ((item * H + there) * W + beside)[:, None] * C + channel[None, :]
        values = tl.load(x + at, mask=is_channel, other=0.0).to(tl.float32)
        tl.store(of_taps + (place + tap) * C + channel, tl.sum(slope * values, 0), mask=channel < C)


def forward(x: Tensor, taps: Tensor, places: Tensor) -> Tensor:
    """y, as x."""
    y, (_, height, width, channels) = torch.empty_like(x), x.shape
    grid = _grid(x, height, width)
    _gather[grid](x, taps, places, y, height, width, channels, TAPS=len(taps), **SIZES)
    return y


def of_values(x: Tensor, taps: Tensor, places: Tensor, of_y: Tensor) -> Tensor:
    """The slope of x; what fell on repeated edges is added to the edges."""
    batch, height, width, channels = of_y.shape
    wide = (height + 2 * REACH, width + 2 * REACH)
    found = of_y.new_empty(batch, *wide, channels, dtype=torch.float32)
    sizes = (height, width, channels)
    _scatter[_grid(x, *wide)](of_y, taps, places, found, *sizes, REACH=REACH, TAPS=len(taps), **SIZES)
    return _folded(_folded(found, 1), 2).to(x.dtype)


def of_taps(x: Tensor, taps: Tensor, places: Tensor, of_y: Tensor) -> Tensor:
    """The slope of the taps."""
    _, height, width, channels = x.shape
    grid = _grid(x, height, width)
    found = x.new_empty(len(x), grid[0], len(taps), channels, dtype=torch.float32)
    _correlate[grid](x, of_y, places, found, height, width, channels, TAPS=len(taps), **SIZES)
    return found.sum(dim=(0, 1)).to(taps.dtype)


def _folded(widened: Tensor, axis: int) -> Tensor:
    """Without the REACH positions at both ends of an axis, which are added to the outermost ones left."""
    length = widened.shape[axis] - 2 * REACH
    kept = widened.narrow(axis, REACH, length).clone()
    kept.narrow(axis, 0, 1).add_(widened.narrow(axis, 0, REACH).sum(dim=axis, keepdim=True))
    kept.narrow(axis, length - 1, 1).add_(
        widened.narrow(axis, REACH + length, REACH).sum(dim=axis, keepdim=True)
    )
    return kept


def _grid(x: Tensor, height: int, width: int) -> tuple[int, int, int]:
    tiles = triton.cdiv(height, SIZES["BH"]) * triton.cdiv(width, SIZES["BW"])
    return tiles, triton.cdiv(x.shape[-1], SIZES["BC"]), len(x)
