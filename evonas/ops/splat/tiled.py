"""Gaussian splatting by tiles: each square of pixels evaluates all Gaussians that reach it at once.

Legend: T tiles, K Gaussians of the fullest tile, P pixels of a tile, M visible Gaussians, C channels.

Results equal those of `reference.draw`. Tiles are processed in chunks that the backward pass recomputes, so that
memory does not grow with the image.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from evonas.ops.splat.projection import Ellipses
from evonas.ops.splat.reference import LEAST_LIGHT, opacity_at, pixel_centres

TILE = 8
# maximum number of alphas of a chunk
PORTION = 2_000_000


def draw(seen: Ellipses, height: int, width: int) -> Float[Tensor, "H W D"]:
    """The image of projected Gaussians; see `evonas.ops.splat.splat`."""
    rows, columns = -(-height // TILE), -(-width // TILE)
    # upper left corner (x, y) of each tile, row by row
    corners = (pixel_centres(rows, columns, seen.centres) - 0.5).flatten(0, 1) * TILE
    tiles = torch.cat([_drawn(seen, part) for part in _portions(seen, corners)])
    image = tiles.unflatten(0, (rows, columns)).unflatten(2, (TILE, TILE))
    return image.permute(0, 2, 1, 3, 4).flatten(0, 1).flatten(1, 2)[:height, :width]


def _portions(seen: Ellipses, corners: Float[Tensor, "T 2"]) -> list[tuple[Tensor, Tensor]]:
    """Chunks of tiles of limited memory: their corners and their lists of Gaussians."""
    # the overlaps of all tiles with all Gaussians are computed in chunks as well
    step = max(1, 8 * PORTION // max(len(seen.radii), 1))
    found = []
    for some in corners.split(step):
        touched = _touched(seen, some)
        counts = touched.sum(1)
        size = max(1, PORTION // (TILE * TILE * max(int(counts.max()), 1)))
        parts = zip(some.split(size), touched.split(size), strict=True)
        found += [(corner, _lists(touch)) for corner, touch in parts]
    return found


@torch.no_grad()
def _touched(seen: Ellipses, corners: Float[Tensor, "T 2"]) -> Bool[Tensor, "T M"]:
    """Whether the bounding square of a Gaussian overlaps a tile."""
    low, high = corners[:, None], corners[:, None] + TILE
    centres, radii = seen.centres[None], seen.radii[None, :, None]
    return ((centres + radii > low) & (centres - radii < high)).all(-1)


def _lists(touched: Bool[Tensor, "T M"]) -> Int[Tensor, "T K"]:
    """The Gaussians of each tile, nearest first, padded with M."""
    tiles, gaussians = touched.nonzero(as_tuple=True)
    places = touched.cumsum(1)[tiles, gaussians] - 1
    longest = int(touched.sum(1).max()) if touched.numel() else 0
    lists = torch.full((len(touched), longest), touched.shape[1], device=touched.device)
    lists[tiles, places] = gaussians
    return lists


def _drawn(seen: Ellipses, part: tuple[Tensor, Tensor]) -> Float[Tensor, "T P D"]:
    corners, lists = part
    operands = seen.centres, seen.conics, seen.opacities, seen.colours
    if not torch.is_grad_enabled():
        return _composed(*operands, corners, lists)
    drawn: Tensor = checkpoint(_composed, *operands, corners, lists, use_reentrant=False)
    return drawn


def _composed(
    centres: Tensor, conics: Tensor, opacities: Tensor, colours: Tensor, corners: Tensor, lists: Tensor
) -> Float[Tensor, "T P D"]:
    # index M is an invisible Gaussian that pads the lists
    padded = [torch.cat([x, x.new_zeros(1, *x.shape[1:])]) for x in (centres, conics, opacities, colours)]
    centre, conic, opacity, colour = (x[lists] for x in padded)
    places = pixel_centres(TILE, TILE, corners).flatten(0, 1) + corners[:, None]
    offsets = places[:, None] - centre[:, :, None]
    alpha = opacity_at(offsets, conic[:, :, None], opacity[:, :, None])
    left = (1 - alpha).cumprod(1)
    is_open = left > LEAST_LIGHT
    light = torch.cat([torch.ones_like(left[:, :1]), left[:, :-1]], 1)
    weights = torch.where(is_open, light * alpha, 0)
    image = torch.einsum("tkp,tkc->tpc", weights, colour)
    return torch.cat([image, weights.sum(1)[..., None]], -1)
