"""Random scenes as a function of (seed, index), and cameras in them."""

from dataclasses import dataclass

import numpy as np

from evonas.data.render.camera import Camera
from evonas.data.render.solids import Box, Cylinder, Plane, Solid, Sphere
from evonas.data.render.texture import Texture, random_texture
from evonas.randomness import generator

CLASSES: tuple[str, ...] = ("sky", "ground", "wall", "sphere", "box", "cylinder")
SKY, GROUND, WALL, SPHERE, BOX, CYLINDER = range(len(CLASSES))

# sizes in metres differ between classes, so that depth can be inferred from the size in pixels
SPHERE_RADIUS = (0.45, 0.65)
BOX_SIDE = (0.9, 1.4)
CYLINDER_RADIUS = (0.2, 0.3)
CYLINDER_HEIGHT = (1.6, 2.0)

NEAREST, FARTHEST = 3.0, 13.0
TRIES = 60
GROUND_PERIOD = 1.0
WALL_PERIOD = 0.6


@dataclass(frozen=True, slots=True)
class Part:
    """One object of a scene; `instance` is 0 for background (ground, wall)."""

    solid: Solid
    label: int
    instance: int
    texture: Texture


@dataclass(frozen=True, slots=True)
class Scene:
    """Parts, light and first camera of a scene; `sun` is the unit vector towards the light."""

    seed: int
    index: int
    parts: tuple[Part, ...]
    sun: tuple[float, float, float]
    camera: Camera

    def view(self, number: int) -> Camera:
        """The camera of a view; 0 is the first camera, others are within a metre with a similar direction."""
        if number == 0:
            return self.camera
        random = generator(self.seed, f"view/{self.index}", number)
        dx, dy, dz, dh, dp = random.uniform(-1, 1, 5)
        x, y, z = self.camera.position
        return Camera(
            position=(x + 0.9 * dx, y + 0.5 * dy, z + 0.15 * dz),
            heading=self.camera.heading - 0.1 * dx + 0.05 * dh,
            pitch=self.camera.pitch + 0.03 * dp,
        )


def make_scene(seed: int, index: int) -> Scene:
    """The scene of an index: ground, a wall with probability 0.6, and three to seven separate solids."""
    random = generator(seed, "scene", index)
    parts = [Part(Plane(), GROUND, 0, random_texture(random, GROUND_PERIOD, ("checker", "noise")))]
    if random.random() < 0.6:
        parts.append(
            Part(_wall(random), WALL, 0, random_texture(random, WALL_PERIOD, ("checker", "stripes")))
        )
    parts.extend(_objects(random, int(random.integers(3, 8))))
    return Scene(seed, index, tuple(parts), _sun(random), _camera(random))


def _camera(random: np.random.Generator) -> Camera:
    return Camera(
        position=(0.0, 0.0, float(random.uniform(1.2, 1.8))),
        heading=float(random.uniform(-0.08, 0.08)),
        pitch=float(random.uniform(0.06, 0.22)),
    )


def _sun(random: np.random.Generator) -> tuple[float, float, float]:
    """The direction of the sun: behind the camera or beside it, at 35 to 65 degrees of elevation."""
    height, azimuth = np.deg2rad(random.uniform(35, 65)), random.uniform(-2.2, 2.2)
    flat = np.cos(height)
    return float(flat * np.sin(azimuth)), float(-flat * np.cos(azimuth)), float(np.sin(height))


def _wall(random: np.random.Generator) -> Box:
    return Box(
        centre=(0.0, float(random.uniform(FARTHEST + 1.5, 18.0))),
        size=(80.0, 0.5, float(random.uniform(2.5, 5.0))),
        yaw=float(random.uniform(-0.06, 0.06)),
    )


def _objects(random: np.random.Generator, count: int) -> list[Part]:
    """`count` solids that do not overlap; fewer if no free ground is found in TRIES attempts."""
    placed: list[tuple[float, float, float]] = []
    parts: list[Part] = []
    for _ in range(TRIES):
        if len(parts) == count:
            break
        y = float(np.exp(random.uniform(np.log(NEAREST), np.log(FARTHEST))))
        x = float(random.uniform(-0.5, 0.5) * y)
        solid, label, reach = _solid(random, x, y)
        if all((x - a) ** 2 + (y - b) ** 2 > (reach + r) ** 2 for a, b, r in placed):
            placed.append((x, y, reach))
            texture = random_texture(random, 0.25)
            parts.append(Part(solid, label, len(parts) + 1, texture))
    return parts


def _solid(random: np.random.Generator, x: float, y: float) -> tuple[Solid, int, float]:
    """A random solid on the ground at (x, y), its class id, and the radius of its footprint."""
    label = int(random.integers(SPHERE, CYLINDER + 1))
    if label == SPHERE:
        radius = float(random.uniform(*SPHERE_RADIUS))
        return Sphere((x, y, radius), radius), label, radius
    if label == BOX:
        width, depth, height = random.uniform(*BOX_SIDE, 3).tolist()
        yaw = float(random.uniform(0, np.pi))
        return Box((x, y), (width, depth, height), yaw), label, float(np.hypot(width, depth)) / 2
    radius = float(random.uniform(*CYLINDER_RADIUS))
    return Cylinder((x, y), radius, float(random.uniform(*CYLINDER_HEIGHT))), label, radius
