"""One view of a scene: which part each pixel sees, how far it is and what colour it has."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evonas.data.render.camera import Camera, intrinsics
from evonas.data.render.scene import SKY, Scene
from evonas.data.render.solids import Array, column, dot, unit

Seen = NDArray[np.int8]
AMBIENT = np.float32(0.4)
HAZE_METRES = np.float32(60.0)
# shadow rays start this far off the surface, or rounding makes a surface shade itself
LIFT = np.float32(2e-3)
ZENITH, HORIZON = (0.35, 0.55, 0.85), (0.8, 0.87, 0.95)


@dataclass(frozen=True, slots=True)
class View:
    """What one camera sees; arrays are H W unless said otherwise.

    Args:
        rgb: uint8, H W 3.
        depth: float32 metres along the camera's z axis; 0 where nothing was hit.
        normals: float32, H W 3: unit surface normals in camera axes, towards the camera; 0 where nothing
            was hit.
        classes: uint8, index into `CLASSES`.
        instances: uint8; 0 is sky, ground and wall.
        boxes: int64, M 4: left, top, right, bottom in pixels, the last two exclusive.
        box_instances: uint8, M: the visible instances, ascending.
        box_classes: uint8, M.
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
    """Cast one ray through every pixel centre."""
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
    """The smallest boxes (M 4: left, top, right, bottom, exclusive) around each number above 0."""
    present = np.unique(instances[instances > 0])
    boxes = np.zeros((len(present), 4), dtype=np.int64)
    for row, number in enumerate(present):
        ys, xs = np.nonzero(instances == number)
        boxes[row] = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
    return boxes, present


def _cast(scene: Scene, camera: Camera, rays: Array, size: tuple[int, int]) -> tuple[Array, Seen]:
    """Depth (N,) and the index of the part that is hit first (N,); -1 is the sky."""
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
    """Colours (3, N) in [0, 1]: Lambert's cosine, a hard shadow, ambient light and a little haze.

    Beside them the world's normals (3, N) of what is seen, 0 in the sky.
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
        footprint = t / np.float32(focal) / np.sqrt(_facing(normal, ray))
        colours[:, pixels] = part.texture.paint(part.solid.surface(point), footprint)
        points[:, pixels] = point + LIFT * normal
        normals[:, pixels] = normal
        light[pixels] = np.maximum(dot(normal, column(*scene.sun)), 0)
    (lit,) = np.nonzero(light)
    light[lit[_shadowed(scene, points.take(lit, axis=1))]] = 0
    return _under(colours, light, depth), normals


def _under(colours: Array, light: Array, depth: Array) -> Array:
    """Surfaces darkened by what light lacks and veiled by haze; the sky, infinitely deep, as it is."""
    veil = np.where(np.isfinite(depth), np.exp(-depth / HAZE_METRES), 1)
    lit = np.where(np.isfinite(depth), AMBIENT + (1 - AMBIENT) * light, 1)
    return colours * (lit * veil) + column(*HORIZON) * (1 - veil)


def _shadowed(scene: Scene, points: Array) -> NDArray[np.bool_]:
    """Rays to the sun are tried only where they pass through the ball around a solid.

    Seen from the sun a ball is a disc, and the plane across the sun's direction is the image.
    """
    sun, across = column(*scene.sun), _across(scene.sun)
    flat = across @ points
    dark = np.zeros(points.shape[1], dtype=bool)
    for part in scene.parts:
        bound = part.solid.bound()
        if bound is None:
            # the sun stands above the ground
            continue
        away = flat - across @ column(*bound[0])
        (near,) = np.nonzero(away[0] ** 2 + away[1] ** 2 <= bound[1] ** 2)
        dark[near] |= np.isfinite(part.solid.hit(points.take(near, axis=1), sun))
    return dark


def _across(sun: tuple[float, float, float]) -> Array:
    """Two unit rows (2, 3) at right angles to the sun's direction and to each other."""
    x, y, z = sun
    flat = np.hypot(x, y)
    return np.array([[y / flat, -x / flat, 0], [x * z / flat, y * z / flat, -flat]], dtype=np.float32)


def _facing(normal: Array, ray: Array) -> Array:
    """The cosine between surface and viewer, kept away from zero."""
    return np.clip(-dot(normal, unit(ray)), np.float32(0.05), 1)


def _sky(rays: Array) -> Array:
    height = np.clip(unit(rays)[2] * 2, 0, 1)
    return column(*HORIZON) + (column(*ZENITH) - column(*HORIZON)) * height
