"""Gaussian splatting, one Gaussian at a time (Kerbl et al., 3D Gaussian Splatting, 2023, eq. 2 to 5).

Legend: N Gaussians, C channels, H W space.

Front to back, a pixel has the colour sum_i c_i a_i prod_{j<i} (1 - a_j), where
a_i = min(0.999, o_i exp(-d^T conic d / 2)) and d is the pixel's centre minus the Gaussian's. Terms with a_i < 1/255,
which an 8-bit image does not show, are dropped, and so is everything behind a transmittance below 1e-4.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from evonas.ops.splat.projection import LEAST_ALPHA, Ellipses

MOST_ALPHA = 0.999
LEAST_LIGHT = 1e-4


def draw(seen: Ellipses, height: int, width: int) -> Float[Tensor, "H W D"]:
    """The image of projected Gaussians; see `evonas.ops.splat.splat`."""
    places = pixel_centres(height, width, seen.centres)
    light = seen.centres.new_ones(height, width)
    is_open = torch.ones_like(light, dtype=torch.bool)
    image = seen.centres.new_zeros(height, width, seen.colours.shape[1])
    for centre, conic, opacity, colour in zip(*seen[:4], strict=True):
        alpha = opacity_at(places - centre, conic, opacity)
        left = light * (1 - alpha)
        is_open = is_open & (left > LEAST_LIGHT)
        image = image + torch.where(is_open, light * alpha, 0)[..., None] * colour
        light = torch.where(is_open, left, light)
    return torch.cat([image, 1 - light[..., None]], -1)


def pixel_centres(height: int, width: int, like: Tensor) -> Float[Tensor, "H W 2"]:
    """The centre (x, y) of every pixel, in pixels."""
    rows, columns = (torch.arange(n, device=like.device, dtype=like.dtype) + 0.5 for n in (height, width))
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)


def opacity_at(
    offset: Float[Tensor, "*P 2"], conic: Float[Tensor, "*Q 3"], opacity: Float[Tensor, "*R"]
) -> Float[Tensor, "*S"]:
    """The alpha of a Gaussian at an offset from its centre; zero below `LEAST_ALPHA`."""
    x, y = offset.unbind(-1)
    xx, xy, yy = conic.unbind(-1)
    exponent = (xx * x * x + yy * y * y) / 2 + xy * x * y
    alpha = (opacity * torch.exp(-exponent)).clamp(max=MOST_ALPHA)
    return torch.where((alpha >= LEAST_ALPHA) & (exponent >= 0), alpha, 0)
