"""Unprojection of a head's output to 3D Gaussians, and their rendering in other cameras.

Legend: V views, D planes, F features, N Gaussians, T targets, H W space, h w cells.

Depth is estimated by a plane sweep in inverse depth: the score of a plane is the similarity of a cell's features with
those of the other views, warped by this plane (Collins 1996; with learnt features MVSplat, arXiv 2403.14627, and
DepthSplat, arXiv 2410.13862). A softmax over planes gives one depth, to which each Gaussian adds an offset. The
backbone processes all views side by side; cameras are used here only, so networks remain functions of an image.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from evonas.nn.gaussians import Layout, Raw
from evonas.ops.splat import splat

# minimum standard deviation of a Gaussian and its range above, in grid steps
LEAST_SCALE, SCALE_SPAN = 0.1, 2.0
# maximum depth offset of a Gaussian from its cell, in planes
OFFSET = 4.0
# zero outputs mean deviations of about half a step and opacities of 0.88
SCALE_BIAS, OPACITY_BIAS = -1.4, 2.0
# factor of the head's colour offset to the pixel's colour
TINT = 0.1


class Cameras(NamedTuple):
    """World-to-camera matrices, and intrinsics in pixels; axes are x right, y down, z forward."""

    views: Float[Tensor, "V 4 4"]
    lenses: Float[Tensor, "V 3 3"]


class Gaussians(NamedTuple):
    """Gaussians in world coordinates, as `ops.splat` takes them, and their depth maps."""

    means: Float[Tensor, "N 3"]
    quats: Float[Tensor, "N 4"]
    scales: Float[Tensor, "N 3"]
    opacities: Float[Tensor, " N"]
    colours: Float[Tensor, "N 3"]
    depths: Float[Tensor, "V H_fine W_fine"]


def lift(
    raw: Raw, layout: Layout, images: Float[Tensor, "V 3 H W"], cameras: Cameras, near: float, far: float
) -> Gaussians:
    """The Gaussians of one item.

    Args:
        raw: the head's output.
        layout: layout of its channels.
        images: the views in [0, 1], which define the colours.
        cameras: cameras of the views.
        near: minimum depth.
        far: maximum depth.
    """
    inverse = _inverse_depths(raw, layout, cameras, images.shape[-2], (1 / near, 1 / far))
    depths = 1 / inverse
    rays = _rays(cameras.lenses, depths.shape[-2:], float(layout.every))
    turns = cameras.views[:, :3, :3]
    # row vectors times the world-to-camera rotation are in world coordinates
    means = (rays * depths.flatten(1)[..., None] - cameras.views[:, None, :3, 3]) @ turns
    _, opacity, scale, quats, tint = raw.numbers.flatten(2).mT.split([1, 1, 3, 4, 3], dim=-1)
    step = depths.flatten(1) * layout.every / cameras.lenses[:, 0, 0, None]
    scales = step[..., None] * (LEAST_SCALE + SCALE_SPAN * (scale + SCALE_BIAS).sigmoid())
    colours = F.avg_pool2d(images, layout.every).flatten(2).mT + TINT * tint
    upright = quats + quats.new_tensor([1.0, 0.0, 0.0, 0.0])
    turned = multiplied(quaternions(turns.mT)[:, None], upright)
    opacities = (opacity + OPACITY_BIAS).sigmoid()[..., 0]
    shapes = (each.flatten(0, 1) for each in (means, turned, scales, opacities, colours))
    return Gaussians(*shapes, depths)  # type: ignore[call-arg]


def render(
    gaussians: Gaussians, cameras: Cameras, height: int, width: int, background: Float[Tensor, " 3"]
) -> Float[Tensor, "T 3 H W"]:
    """Renders Gaussians in cameras, over a background colour."""
    shape = gaussians[:5]
    images = []
    for view, lens in zip(*cameras, strict=True):
        drawn = splat(*shape, view, lens, height, width)
        images.append(drawn[..., :3] + (1 - drawn[..., 3:]) * background)
    return torch.stack(images).permute(0, 3, 1, 2)


def agreement(
    features: Float[Tensor, "V F h w"], cameras: Cameras, planes: Float[Tensor, " D"], stride: float
) -> Float[Tensor, "V D h w"]:
    """Similarity of each cell with the other views per plane: scaled inner products, 0 outside of the views.

    Args:
        features: features of each view.
        cameras: cameras of the views.
        planes: inverse depths.
        stride: pixels between cells.
    """
    count, _, height, width = features.shape
    rays = _rays(cameras.lenses, (height, width), stride)
    scores = []
    for one in range(count):
        others = [k for k in range(count) if k != one]
        moved = [_seen_by(k, one, rays[one], cameras, planes, (height, width), stride) for k in others]
        found = F.grid_sample(features[others], torch.stack(moved), align_corners=False)
        scores.append(torch.einsum("vfdn,fn->dn", found, features[one].flatten(1)) / len(others))
    return torch.stack(scores).unflatten(-1, (height, width)) / math.sqrt(features.shape[1])


def quaternions(turns: Float[Tensor, "V 3 3"]) -> Float[Tensor, "V 4"]:
    """Quaternions w x y z of rotation matrices, without gradient.

    The quaternion is the eigenvector of the largest eigenvalue of a symmetric matrix (Bar-Itzhack 2000).
    """
    with torch.no_grad():
        m = turns.double()
        k = m.new_zeros(len(m), 4, 4)
        trace = m.diagonal(dim1=1, dim2=2).sum(1)
        k[:, 0, 0] = trace
        k[:, 1:, 1:] = m + m.mT - trace[:, None, None] * torch.eye(3, dtype=m.dtype, device=m.device)
        axis = torch.stack([m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]], 1)
        k[:, 0, 1:] = k[:, 1:, 0] = axis
        return torch.linalg.eigh(k).eigenvectors[..., -1].to(turns)


def multiplied(a: Float[Tensor, "*A 4"], b: Float[Tensor, "*B 4"]) -> Float[Tensor, "*C 4"]:
    """The Hamilton product of quaternions w x y z: rotation b followed by a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    parts = [
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    ]
    return torch.stack(parts, -1)


def _inverse_depths(
    raw: Raw, layout: Layout, cameras: Cameras, height: int, ends: tuple[float, float]
) -> Float[Tensor, "V H_fine W_fine"]:
    """The inverse depth of every Gaussian, between the nearest and the farthest plane."""
    planes = torch.linspace(*ends, layout.planes, device=raw.planes.device)
    scores = raw.planes + agreement(raw.features, cameras, planes, height / raw.planes.shape[-2])
    coarse = torch.einsum("vdhw,d->vhw", scores.softmax(1), planes)
    fine = F.interpolate(coarse[:, None], raw.numbers.shape[-2:], mode="bilinear", align_corners=False)
    span = OFFSET * (ends[0] - ends[1]) / (layout.planes - 1)
    return (fine + span * raw.numbers[:, :1].tanh())[:, 0].clamp(ends[1], ends[0])


def _rays(lenses: Tensor, size: tuple[int, int] | torch.Size, step: float) -> Float[Tensor, "V N 3"]:
    """Ray directions in camera coordinates with z = 1, through the centres of squares of `step` pixels."""
    rows, columns = (step * (torch.arange(side, device=lenses.device) + 0.5) for side in size)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], -1).flatten(0, 1).to(lenses)
    return places @ torch.linalg.inv(lenses).mT


def _seen_by(
    other: int,
    one: int,
    rays: Float[Tensor, "N 3"],
    cameras: Cameras,
    planes: Float[Tensor, " D"],
    size: tuple[int, int],
    stride: float,
) -> Float[Tensor, "D N 2"]:
    """Positions of a view's cells in another view for each plane, in coordinates of grid_sample."""
    motion = cameras.views[other] @ torch.linalg.inv(cameras.views[one])
    # a point at inverse depth p is ray / p; scaled by p, its position in the other camera needs no division
    places = (rays @ motion[:3, :3].mT)[None] + planes[:, None, None] * motion[:3, 3]
    shown = places @ cameras.lenses[other].mT
    depth = shown[..., 2:]
    height, width = size
    scale = shown.new_tensor([2 / (width * stride), 2 / (height * stride)])
    grid = shown[..., :2] / depth.clamp(min=1e-6) * scale - 1
    # points behind the camera are moved outside of the view, where samples are zero
    return torch.where(depth > 1e-6, grid.clamp(-1e4, 1e4), 1e4)
