"""Ray casting of one view of a scene: colour, depth, normals, class and instance of each pixel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evonas.data.render.camera import Camera, intrinsics
from evonas.data.render.scene import SKY, Scene
from evonas.data.render.solids import Array, column, dot, unit

Seen = NDArray[np.int8]
AMBIENT = np.float32(0.4)
HAZE_METRES = np.float32(60.0)
# distance between a surface and the origin of its shadow ray, which prevents self-shadowing by rounding
LIFT = np.float32(2e-3)
ZENITH, HORIZON = (0.35, 0.55, 0.85), (0.8, 0.87, 0.95)


@dataclass(frozen=True, slots=True)
class View:
    """The rendered arrays of one camera, H W unless stated otherwise.

    Args:
        rgb: uint8, H W 3.
        depth: float32 metres along the camera's z axis; 0 in the sky.
        normals: float32, H W 3: unit surface normals in camera axes, towards the camera; 0 in the sky.
        classes: uint8, index into `CLASSES`.
        instances: uint8; 0 is sky, ground and wall.
        boxes: int64, M 4: left, top, right, bottom in pixels, the last two exclusive.
        box_instances: uint8, M: the visible instances, ascending.
        box_classes: uint8, M: their class ids.
        pose: 4x4 camera-to-world.
        intrinsics: 3x3.
    """

    rgb: NDArray[np.uint8]
    depth: Array
    normals: Array
    classes: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    boxes: NDArray[np.int64]
    box_instances: NDArray[np.uint8]
    box_classes: NDArray[np.uint8]
    pose: NDArray[np.float64]
    intrinsics: NDArray[np.float64]


def render(scene: Scene, camera: Camera, height: int, width: int) -> View:
    """Renders a view by casting one ray through each pixel centre."""
    origin, rays = column(*camera.position), camera.rays(height, width)
    with np.errstate(over="ignore", invalid="ignore"):
        depth, seen = _cast(scene, camera, rays, (height, width))
        rgb, normals = _shade(scene, origin, rays, depth, seen, intrinsics(height, width)[0, 0])
    labels = np.array([part.label for part in scene.parts] + [SKY], dtype=np.uint8)
    numbers = np.array([part.instance for part in scene.parts] + [0], dtype=np.uint8)
    instances = numbers[seen].reshape(height, width)
    boxes, present = tight_boxes(instances)
    label_of = {part.instance: part.label for part in scene.parts}
    return View(
        rgb=np.rint(np.clip(rgb.T, 0, 1) * 255).astype(np.uint8).reshape(height, width, 3),
        depth=np.where(seen >= 0, depth, 0).astype(np.float32).reshape(height, width),
        normals=(normals.T @ camera.pose()[:3, :3]).astype(np.float32).reshape(height, width, 3),
        classes=labels[seen].reshape(height, width),
        instances=instances,
        boxes=boxes,
        box_instances=present,
        box_classes=np.array([label_of[int(number)] for number in present], dtype=np.uint8),
        pose=camera.pose(),
        intrinsics=intrinsics(height, width),
    )


def tight_boxes(instances: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Bounding boxes (M 4: left, top, right, bottom, exclusive) of the positive instance ids, and these ids."""
    present = np.unique(instances[instances > 0])
    boxes = np.zeros((len(present), 4), dtype=np.int64)
    for row, number in enumerate(present):
        ys, xs = np.nonzero(instances == number)
        boxes[row] = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
    return boxes, present


def _cast(scene: Scene, camera: Camera, rays: Array, size: tuple[int, int]) -> tuple[Array, Seen]:
    """Depth (N,) and the index of the nearest part (N,); -1 is the sky."""
    origin, grid = column(*camera.position), rays.reshape(3, *size)
    depth = np.full(size, np.inf, dtype=np.float32)
    seen = np.full(size, -1, dtype=np.int8)
    for number, part in enumerate(scene.parts):
        bound = part.solid.bound()
        window = (slice(None), slice(None)) if bound is None else camera.window(*bound, size)
        here = depth[window]
        t = part.solid.hit(origin, grid[:, *window].reshape(3, -1)).reshape(here.shape)
        nearer = t < here
        np.copyto(here, t, where=nearer)
        np.copyto(seen[window], np.int8(number), where=nearer)
    return depth.ravel(), seen.ravel()


def _shade(
    scene: Scene, origin: Array, rays: Array, depth: Array, seen: Seen, focal: float
) -> tuple[Array, Array]:
    """Colours (3, N) in [0, 1] and world normals (3, N), which are 0 in the sky.

    Lambertian shading with hard shadows, ambient light and haze.
    """
    colours, points, light = _sky(rays), np.zeros_like(rays), np.zeros_like(depth)
    normals = np.zeros_like(rays)
    for number, part in enumerate(scene.parts):
        (pixels,) = np.nonzero(seen == number)
        if len(pixels) == 0:
            continue
        t, ray = depth[pixels], rays.take(pixels, axis=1)
        point = origin + t * ray
        normal = part.solid.normal(point)
        # cosine between surface and viewer, bounded away from zero
        facing = np.clip(-dot(normal, unit(ray)), np.float32(0.05), 1)
        footprint = t / np.float32(focal) / np.sqrt(facing)
        colours[:, pixels] = part.texture.paint(part.solid.surface(point), footprint)
        points[:, pixels] = point + LIFT * normal
        normals[:, pixels] = normal
        light[pixels] = np.maximum(dot(normal, column(*scene.sun)), 0)
    (lit,) = np.nonzero(light)
    light[lit[_shadowed(scene, points.take(lit, axis=1))]] = 0
    # the sky is neither shaded nor hazy
    transmission = np.where(np.isfinite(depth), np.exp(-depth / HAZE_METRES), 1)
    shade = np.where(np.isfinite(depth), AMBIENT + (1 - AMBIENT) * light, 1)
    return colours * (shade * transmission) + column(*HORIZON) * (1 - transmission), normals


def _shadowed(scene: Scene, points: Array) -> NDArray[np.bool_]:
    """Whether each point (3, N) is in shadow.

    Rays to the sun are cast only where they pass through the bounding ball of a solid: projected along the sun's
    direction a ball is a disc.
    """
    sun = column(*scene.sun)
    # two unit rows (2, 3) orthogonal to the sun's direction and to each other
    x, y, z = scene.sun
    level = np.hypot(x, y)
    across = np.array([[y / level, -x / level, 0], [x * z / level, y * z / level, -level]], dtype=np.float32)
    flat = across @ points
    dark = np.zeros(points.shape[1], dtype=bool)
    for part in scene.parts:
        bound = part.solid.bound()
        if bound is None:
            # the sun is above the ground
            continue
        away = flat - across @ column(*bound[0])
        (near,) = np.nonzero(away[0] ** 2 + away[1] ** 2 <= bound[1] ** 2)
        dark[near] |= np.isfinite(part.solid.hit(points.take(near, axis=1), sun))
    return dark


def _sky(rays: Array) -> Array:
    height = np.clip(unit(rays)[2] * 2, 0, 1)
    return column(*HORIZON) + (column(*ZENITH) - column(*HORIZON)) * height
