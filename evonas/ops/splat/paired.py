"""Gaussian splatting over the list of all pairs of a Gaussian and a pixel that it reaches.

Legend: M visible Gaussians, P pairs, R rows of a band, W its width, C channels, K rows of the table.

Results equal those of `reference.draw`. Small Gaussians reach few pixels, so the list is several times shorter than
the pairs that tiles evaluate. Pairs that add nothing to a pixel are dropped before anything is saved for the backward
pass. The image is drawn in bands of rows, which bounds the memory.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from evonas.ops.splat.projection import LEAST_ALPHA, Ellipses
from evonas.ops.splat.reference import LEAST_LIGHT, MOST_ALPHA

# maximum number of pairs of a band
PORTION = 4_000_000
# rows of the table before the colours: centre (2), conic (3) and opacity
SHAPE = 6


class _Pairs(NamedTuple):
    """Pairs sorted by pixel, then by depth, nearest first; `counts` is the number of pairs of each pixel."""

    gaussians: Int[Tensor, " P"]
    pixels: Int[Tensor, " P"]
    counts: Int[Tensor, " RW"]


class _Boxes(NamedTuple):
    """First pixel and number of pixels of each ellipse's axis-aligned box, by column and row."""

    left: Int[Tensor, " M"]
    top: Int[Tensor, " M"]
    wide: Int[Tensor, " M"]
    high: Int[Tensor, " M"]


def draw(seen: Ellipses, height: int, width: int) -> Float[Tensor, "H W D"]:
    """The image of projected Gaussians; see `evonas.ops.splat.splat`."""
    table = torch.cat([seen.centres, seen.conics, seen.opacities[:, None], seen.colours], 1).T.contiguous()
    boxes = _boxes(seen, height, width)
    return torch.cat([_Drawn.apply(table, boxes, *band, width) for band in _bands(boxes, height)])


@torch.no_grad()
def _boxes(seen: Ellipses, height: int, width: int) -> _Boxes:
    """The pixels whose centres lie in the bounding box of an ellipse's visible part, clipped to the image."""
    reach = 2 * (seen.opacities.clamp(min=LEAST_ALPHA) / LEAST_ALPHA).log()
    xx, xy, yy = seen.conics.unbind(-1)
    half = (reach / (xx * yy - xy * xy))[:, None] * torch.stack([yy, xx], -1)
    half = half.sqrt()
    last = half.new_tensor([width - 1, height - 1])
    first = (seen.centres - half - 0.5).ceil().clamp(min=0)
    end = torch.minimum((seen.centres + half - 0.5).floor(), last)
    size = (end - first + 1).clamp(min=0)
    (left, top), (wide, high) = first.long().unbind(-1), size.long().unbind(-1)
    return _Boxes(left, top, wide, high)


def _bands(boxes: _Boxes, height: int) -> list[tuple[int, int]]:
    """Ranges of rows, first and end, of about PORTION pairs each."""
    steps = torch.zeros(height + 1, dtype=torch.long, device=boxes.wide.device)
    wide = torch.where(boxes.high > 0, boxes.wide, 0)
    steps.index_add_(0, boxes.top.clamp(max=height), wide)
    steps.index_add_(0, (boxes.top + boxes.high).clamp(max=height), -wide)
    bands, first, held = [], 0, 0
    for row, pairs in enumerate(steps[:height].cumsum(0).tolist()):
        if held and held + pairs > PORTION:
            bands.append((first, row))
            first, held = row, 0
        held += pairs
    return [*bands, (first, height)]


class _Drawn(torch.autograd.Function):
    """A band of the image (R W D) from the table of Gaussians, with an analytic gradient.

    With w = a l, where l is the transmittance before a pair, and q the image's gradient along the pair's colour,
    dL/da = l q - (sum of w q over later pairs) / (1 - a), the derivative of the sum in `reference`.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, boxes: _Boxes, first: int, end: int, width: int) -> Tensor:
        pairs = _listed(table, boxes, first, end, width)
        ctx.save_for_backward(table, *pairs)
        ctx.place = first, width
        alpha, _, rows = _looked_up(table, pairs.gaussians, pairs.pixels, first, width)
        weight = alpha * _light(alpha, pairs.counts)[0]
        values = torch.cat([weight * rows[SHAPE:], weight[None]])
        image = _summed(values, pairs.pixels, (end - first) * width)
        return image.T.reshape(end - first, width, -1)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        table, *listed = ctx.saved_tensors
        pairs = _Pairs(*listed)
        alpha, offset, rows = _looked_up(table, pairs.gaussians, pairs.pixels, *ctx.place)
        light = _light(alpha, pairs.counts)[0]
        slope = slope.flatten(0, 1).T.contiguous().index_select(1, pairs.pixels)
        along = (slope[:-1] * rows[SHAPE:]).sum(0) + slope[-1]
        following = _following(light * alpha * along, pairs.counts)
        by_alpha = torch.where(alpha < MOST_ALPHA, light * along - following / (1 - alpha), 0)
        by_row = torch.cat([_shape_slopes(by_alpha * alpha, offset, rows), light * alpha * slope[:-1]])
        return _summed(by_row, pairs.gaussians, table.shape[1]), None, None, None, None


def _summed(values: Tensor, places: Tensor, size: int) -> Float[Tensor, "K S"]:
    """Scatter-adds the columns of `values` to `size` columns by index."""
    sums = values.new_zeros(len(values), size)
    return sums.scatter_add_(1, places.long().expand(len(values), -1), values)


def _shape_slopes(by_log: Tensor, offset: tuple[Tensor, Tensor], rows: Tensor) -> Float[Tensor, "6 P"]:
    """Gradients by centre, conic and opacity, from the gradient by the logarithm of alpha."""
    (x, y), (xx, xy, yy, opacity) = offset, rows[2:SHAPE]
    by_x, by_y = by_log * x, by_log * y
    centre = [xx * by_x + xy * by_y, xy * by_x + yy * by_y]
    return torch.stack([*centre, -by_x * x / 2, -by_x * y, -by_y * y / 2, by_log / opacity])


def _listed(table: Tensor, boxes: _Boxes, first: int, end: int, width: int) -> _Pairs:
    """The visible pairs of a band: with enough alpha, and enough transmittance before them."""
    gaussians, pixels = _inside(boxes, first, end, width)
    alpha = _looked_up(table[:SHAPE], gaussians, pixels, first, width)[0]
    shown = alpha.nonzero().flatten()
    # Gaussians are sorted by depth, which a stable sort preserves
    pixels, order = pixels.index_select(0, shown).sort(stable=True)
    shown = shown.index_select(0, order)
    gaussians, alpha = gaussians.index_select(0, shown), alpha.index_select(0, shown)
    size = (end - first) * width
    counts = torch.bincount(pixels, minlength=size)
    is_open = _light(alpha, counts)[1] > LEAST_LIGHT
    if not is_open.all():
        pixels, gaussians = pixels[is_open], gaussians[is_open]
        counts = torch.bincount(pixels, minlength=size)
    return _Pairs(gaussians, pixels, counts)


def _inside(boxes: _Boxes, first: int, end: int, width: int) -> tuple[Tensor, Tensor]:
    """Gaussian and pixel of every pair in the boxes, nearest Gaussian first; pixel indices are within the band."""
    top = boxes.top.clamp(min=first)
    high = ((boxes.top + boxes.high).clamp(max=end) - top).clamp(min=0)
    counts = boxes.wide * high
    gaussians = torch.repeat_interleave(counts).int()
    start = (top - first) * width + boxes.left
    # for each pair: width and first pixel of its box, and the number of pairs of earlier boxes
    about = torch.stack([boxes.wide, start, counts.cumsum(0) - counts]).int()
    wide, start, before = about.index_select(1, gaussians)
    offsets = torch.arange(len(gaussians), device=counts.device, dtype=torch.int32) - before
    row = offsets.div(wide, rounding_mode="floor")
    return gaussians, start + row * (width - wide) + offsets


def _looked_up(
    table: Tensor, gaussians: Tensor, pixels: Tensor, first: int, width: int
) -> tuple[Float[Tensor, " P"], tuple[Tensor, Tensor], Float[Tensor, "K P"]]:
    """Alpha, offset (x, y) from the Gaussian's centre, and column of the table, of every pair."""
    rows = table.index_select(1, gaussians)
    row = pixels.div(width, rounding_mode="floor")
    x = (pixels - row * width).to(table) + 0.5 - rows[0]
    y = row.to(table) + (first + 0.5) - rows[1]
    return _alpha(x, y, rows), (x, y), rows


def _alpha(x: Tensor, y: Tensor, rows: Tensor) -> Float[Tensor, " P"]:
    """`reference.opacity_at` on the columns of the table, whose layout is several times faster to read."""
    xx, xy, yy, opacity = rows[2:SHAPE]
    exponent = (xx * x * x + yy * y * y) / 2 + xy * x * y
    alpha = (opacity * torch.exp(-exponent)).clamp_(max=MOST_ALPHA)
    return torch.where((alpha >= LEAST_ALPHA) & (exponent >= 0), alpha, 0)


def _light(alpha: Float[Tensor, " P"], counts: Tensor) -> tuple[Float[Tensor, " P"], Float[Tensor, " P"]]:
    """Transmittance before and after each pair, from running sums of logarithms."""
    logs = torch.log1p(-alpha.double())
    total = logs.cumsum(0)
    after = total - _at(total, counts.cumsum(0) - counts).repeat_interleave(counts)
    return (after - logs).exp_().to(alpha), after.exp_().to(alpha)


def _following(values: Float[Tensor, " P"], counts: Tensor) -> Float[Tensor, " P"]:
    """The sum of `values` over the later pairs of the same pixel."""
    total = values.double().cumsum(0)
    return (_at(total, counts.cumsum(0)).repeat_interleave(counts) - total).to(values)


def _at(total: Tensor, places: Tensor) -> Tensor:
    """The sum of the first n values, for each n in `places`, from their running sums."""
    return torch.cat([total.new_zeros(1), total])[places]
