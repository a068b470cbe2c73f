"""From what a head says about every pixel to Gaussians in space, and on to what other cameras see.

Legend: V views, D planes, F features, N Gaussians, T targets, H W space, h w cells.

Depth is found by sweeping planes of inverse depth: where the features of a cell, moved to another view as if
they lay on a plane, agree with what is there, that plane gains (Collins 1996; as MVSplat, arXiv 2403.14627,
and DepthSplat, arXiv 2410.13862, do with learnt features). The scores of all planes become one depth by
softmax, and each Gaussian adds an offset of its own. The backbone has seen all views side by side, so its
features already know of one another; cameras enter here alone, so networks stay functions of an image.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from evonas.nn.gaussians import Layout, Raw
from evonas.ops.splat import splat

# in grid steps: the smallest deviation of a Gaussian, and by how much more it may grow
LEAST_SCALE, SCALE_SPAN = 0.1, 2.0
# planes by which a Gaussian may leave the depth of its cell
OFFSET = 4.0
# what a fresh head's zeros mean: deviations of about half a step, and opacities of 0.88
SCALE_BIAS, OPACITY_BIAS = -1.4, 2.0
# how much a Gaussian's colour may follow the head; the rest is its pixel's
TINT = 0.1


class Cameras(NamedTuple):
    """World to camera, and intrinsics in pixels; axes are x right, y down, z ahead."""

    views: Float[Tensor, "V 4 4"]
    lenses: Float[Tensor, "V 3 3"]


class Gaussians(NamedTuple):
    """Shapes in the world, as `ops.splat` wants them, and the depth maps that they came from."""

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
        raw: what the head says.
        layout: how it was read.
        images: the views, in [0, 1]; they give the colours.
        cameras: that took them.
        near: the nearest depth; likewise `far`.
    """
    inverse = _inverse_depths(raw, layout, cameras, images.shape[-2], (1 / near, 1 / far))
    depths = 1 / inverse
    rays = _rays(cameras.lenses, depths.shape[-2:], float(layout.every))
    turns = cameras.views[:, :3, :3]
    # row vectors times the rotation to the camera are turned back to the world
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
    """What the cameras see; `background` shows where the Gaussians let light through."""
    shape = gaussians[:5]
    images = []
    for view, lens in zip(*cameras, strict=True):
        drawn = splat(*shape, view, lens, height, width)
        images.append(drawn[..., :3] + (1 - drawn[..., 3:]) * background)
    return torch.stack(images).permute(0, 3, 1, 2)


def agreement(
    features: Float[Tensor, "V F h w"], cameras: Cameras, planes: Float[Tensor, " D"], stride: float
) -> Float[Tensor, "V D h w"]:
    """How well each cell agrees with the other views if it lies on a plane: scaled products, 0 outside.

    Args:
        planes: inverse depths.
        stride: pixels from one cell to the next.
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
    """w x y z of rotation matrices; constants, without a slope.

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
    """Hamilton's product of quaternions w x y z: the rotation b, then a."""
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
    """One over the depth of every Gaussian, between the nearest plane and the farthest."""
    planes = torch.linspace(*ends, layout.planes, device=raw.planes.device)
    scores = raw.planes + agreement(raw.features, cameras, planes, height / raw.planes.shape[-2])
    coarse = torch.einsum("vdhw,d->vhw", scores.softmax(1), planes)
    fine = F.interpolate(coarse[:, None], raw.numbers.shape[-2:], mode="bilinear", align_corners=False)
    span = OFFSET * (ends[0] - ends[1]) / (layout.planes - 1)
    return (fine + span * raw.numbers[:, :1].tanh())[:, 0].clamp(ends[1], ends[0])


def _rays(lenses: Tensor, size: tuple[int, int] | torch.Size, step: float) -> Float[Tensor, "V N 3"]:
    """Directions in camera axes, whose z is one, through a grid of squares of `step` pixels."""
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
    """Where another view sees the cells of one view, for each plane, in the coordinates of grid_sample."""
    motion = cameras.views[other] @ torch.linalg.inv(cameras.views[one])
    # a point at inverse depth p lies at ray / p; times p, its place in the other camera has no division
    places = (rays @ motion[:3, :3].mT)[None] + planes[:, None, None] * motion[:3, 3]
    shown = places @ cameras.lenses[other].mT
    depth = shown[..., 2:]
    height, width = size
    scale = shown.new_tensor([2 / (width * stride), 2 / (height * stride)])
    grid = shown[..., :2] / depth.clamp(min=1e-6) * scale - 1
    # what lies behind the camera is put far outside, where everything is zero
    return torch.where(depth > 1e-6, grid.clamp(-1e4, 1e4), 1e4)
