"""Projection of 3-D Gaussians to ellipses on the image (Zwicker et al., EWA Splatting, 2001, eq. 24 to 31).

Legend: N Gaussians. Camera axes are x right, y down, z forward; pixel centres lie at half-integers.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# the smallest opacity that changes an 8-bit image; smaller ones are dropped
LEAST_ALPHA = 1 / 255
# near plane
NEAR = 0.01
# variance in pixels^2 that is added to every ellipse, a low-pass filter of one pixel (Kerbl et al. 2023)
BLUR = 0.3
# the linearised perspective of a Gaussian is clamped beyond this share of the view, where it would diverge
_BEYOND = 0.3


class Ellipses(NamedTuple):
    """The visible Gaussians on the image, nearest first.

    Args:
        centres: in pixels, x and y.
        conics: xx, xy and yy of the inverse covariance, 1/pixels^2.
        opacities: at the centre.
        colours: any channels.
        radii: pixels beyond which alpha is below `LEAST_ALPHA`.
    """

    centres: Float[Tensor, "M 2"]
    conics: Float[Tensor, "M 3"]
    opacities: Float[Tensor, " M"]
    colours: Float[Tensor, "M C"]
    radii: Float[Tensor, " M"]


def project(
    means_N3: Float[Tensor, "N 3"],
    quats_N4: Float[Tensor, "N 4"],
    scales_N3: Float[Tensor, "N 3"],
    opacities_N: Float[Tensor, " N"],
    colours_NC: Float[Tensor, "N C"],
    view_44: Float[Tensor, "4 4"],
    intrinsics_33: Float[Tensor, "3 3"],
    height: int,
    width: int,
) -> Ellipses:
    """The visible ellipses of Gaussians; see `evonas.ops.splat.splat` for the arguments."""
    camera_N3 = means_N3 @ view_44[:3, :3].T + view_44[:3, 3]
    covariances = _covariances(view_44[:3, :3] @ rotations(quats_N4), scales_N3)
    centres, jacobians = _perspective(camera_N3, intrinsics_33, height, width)
    flat = jacobians @ covariances @ jacobians.mT
    xx, xy, yy = flat[:, 0, 0] + BLUR, flat[:, 0, 1], flat[:, 1, 1] + BLUR
    area = xx * yy - xy**2
    conics = torch.stack([yy, -xy, xx], -1) / area[:, None]
    radii = _radii(xx, xy, yy, opacities_N)
    seen = _seen(camera_N3[:, 2], centres, radii, height, width) & (area > 0)
    order = torch.nonzero(seen).flatten()
    order = order[camera_N3[order, 2].detach().argsort(stable=True)]
    return Ellipses(centres[order], conics[order], opacities_N[order], colours_NC[order], radii[order])


def rotations(quats_N4: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3 3"]:
    """Rotation matrices of quaternions w x y z, which need not be of unit length."""
    w, x, y, z = torch.nn.functional.normalize(quats_N4, dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _covariances(axes_N33: Float[Tensor, "N 3 3"], scales_N3: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3 3"]:
    stretched = axes_N33 * scales_N3[:, None, :]
    return stretched @ stretched.mT


def _perspective(
    camera_N3: Float[Tensor, "N 3"], intrinsics_33: Float[Tensor, "3 3"], height: int, width: int
) -> tuple[Float[Tensor, "N 2"], Float[Tensor, "N 2 3"]]:
    """Centres on the image, and the derivative of the perspective there."""
    x, y, z = camera_N3.unbind(-1)
    z = z.clamp(min=NEAR)
    fx, fy = intrinsics_33[0, 0], intrinsics_33[1, 1]
    cx, cy = intrinsics_33[0, 2], intrinsics_33[1, 2]
    centres = torch.stack([fx * x / z + cx, fy * y / z + cy], -1)
    u = _clamped(x / z, -cx / fx, (width - cx) / fx, _BEYOND * width / fx / 2)
    v = _clamped(y / z, -cy / fy, (height - cy) / fy, _BEYOND * height / fy / 2)
    nought = torch.zeros_like(z)
    rows = [[fx / z, nought, -fx * u / z], [nought, fy / z, -fy * v / z]]
    return centres, torch.stack([torch.stack(row, -1) for row in rows], -2)


def _clamped(value: Tensor, low: Tensor, high: Tensor, beyond: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(value, low - beyond), high + beyond)


@torch.no_grad()
def _radii(xx: Tensor, xy: Tensor, yy: Tensor, opacities_N: Tensor) -> Float[Tensor, " N"]:
    middle = (xx + yy) / 2
    longest = middle + ((xx - yy).square() / 4 + xy**2).sqrt()
    reach = 2 * (opacities_N.clamp(min=LEAST_ALPHA) / LEAST_ALPHA).log()
    return (longest * reach).sqrt()


@torch.no_grad()
def _seen(depth: Tensor, centres: Tensor, radii: Tensor, height: int, width: int) -> Bool[Tensor, " N"]:
    x, y = centres.unbind(-1)
    inside = (x + radii > 0) & (x - radii < width) & (y + radii > 0) & (y - radii < height)
    finite = torch.isfinite(radii) & torch.isfinite(centres).all(-1)
    return (depth > NEAR) & (radii > 0) & inside & finite
