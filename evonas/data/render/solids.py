"""Solids and their intersections with rays. World axes: x right, y forward, z up; lengths in metres.

The contract of a solid: `hit(origin, direction)` takes (3, N) or (3, 1) arrays and returns distances (N,) in units of
the direction's length, infinite for rays that miss; origins are outside. `normal` and `surface` take points (3, N) on
the solid and return outward unit normals (3, N) and texture coordinates in metres (2, N). `bound` is the centre and the
radius of a bounding ball, or None for an unbounded solid.

Vectors are float32 arrays of shape (3, N), because NumPy is fastest with one contiguous row per axis.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Ball = tuple[tuple[float, float, float], float]
MISS = np.float32(np.inf)
NEAR = np.float32(1e-4)


def column(*values: float) -> Array:
    """One vector as (3, 1)."""
    return np.array(values, dtype=np.float32).reshape(-1, 1)


def dot(a: Array, b: Array) -> Array:
    """Dot products of (3, N) with (3, N) or (3, 1)."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def unit(vectors: Array) -> Array:
    """The vectors scaled to length one."""
    return vectors / np.sqrt(dot(vectors, vectors))


def safe_inverse(values: Array) -> Array:
    """Reciprocals; zero counts as 1e-9, so that no NaN arises."""
    return np.float32(1.0) / np.where(np.abs(values) < 1e-9, np.float32(1e-9), values)


class Solid(Protocol):
    """See the module's contract."""

    def hit(self, origin: Array, direction: Array) -> Array: ...

    def normal(self, points: Array) -> Array: ...

    def surface(self, points: Array) -> Array: ...

    def bound(self) -> Ball | None: ...


@dataclass(frozen=True, slots=True)
class Plane:
    """The ground, z = 0."""

    def hit(self, origin: Array, direction: Array) -> Array:
        """Distances for rays that point down."""
        below = direction[2] < -1e-6
        return np.where(below, -origin[2] / np.where(below, direction[2], -1.0), MISS)

    def normal(self, points: Array) -> Array:
        """The z axis."""
        return np.broadcast_to(column(0, 0, 1), points.shape)

    def surface(self, points: Array) -> Array:
        """The world's x and y."""
        return points[:2]

    def bound(self) -> Ball | None:
        """None: the ground is unbounded."""
        return None


@dataclass(frozen=True, slots=True)
class Sphere:
    """A ball of `radius` around `centre` (x, y, z)."""

    centre: tuple[float, float, float]
    radius: float

    def hit(self, origin: Array, direction: Array) -> Array:
        """The smaller root of the quadratic equation."""
        start = origin - column(*self.centre)
        a, b = dot(direction, direction), dot(start, direction)
        return _near_root(a, b, dot(start, start) - np.float32(self.radius**2))

    def normal(self, points: Array) -> Array:
        """The direction from the centre."""
        return (points - column(*self.centre)) / np.float32(self.radius)

    def surface(self, points: Array) -> Array:
        """Longitude and latitude as arc lengths."""
        n = self.normal(points)
        longitude = np.arctan2(n[1], n[0])
        latitude = np.arcsin(np.clip(n[2], -1, 1))
        return np.stack((longitude, latitude)) * np.float32(self.radius)

    def bound(self) -> Ball | None:
        """The sphere itself."""
        return self.centre, self.radius


@dataclass(frozen=True, slots=True)
class Cylinder:
    """An upright cylinder on the ground at `centre` (x, y)."""

    centre: tuple[float, float]
    radius: float
    height: float

    def hit(self, origin: Array, direction: Array) -> Array:
        """The nearer of the mantle and the lid."""
        start = origin - column(*self.centre, 0.0)
        return np.minimum(self._mantle(start, direction), self._lid(start, direction))

    def _mantle(self, start: Array, direction: Array) -> Array:
        a = np.maximum(direction[0] ** 2 + direction[1] ** 2, np.float32(1e-12))
        b = start[0] * direction[0] + start[1] * direction[1]
        t = _near_root(a, b, start[0] ** 2 + start[1] ** 2 - np.float32(self.radius**2))
        z = start[2] + np.where(np.isfinite(t), t, 0) * direction[2]
        return np.where((z >= 0) & (z <= self.height), t, MISS)

    def _lid(self, start: Array, direction: Array) -> Array:
        t = (np.float32(self.height) - start[2]) * safe_inverse(direction[2])
        x, y = start[0] + t * direction[0], start[1] + t * direction[1]
        return np.where((t > NEAR) & (x * x + y * y <= self.radius**2), t, MISS)

    def normal(self, points: Array) -> Array:
        """Radial on the mantle, the z axis on the lid."""
        on_lid = points[2] >= self.height - 1e-3
        out = (points - column(*self.centre, 0.0)) / np.float32(self.radius)
        out[2] = 0
        return np.where(on_lid, column(0, 0, 1), out)

    def surface(self, points: Array) -> Array:
        """Arc length and height on the mantle, x and y on the lid."""
        x, y = points[0] - self.centre[0], points[1] - self.centre[1]
        mantle = np.stack((np.arctan2(y, x) * np.float32(self.radius), points[2]))
        return np.where(points[2] >= self.height - 1e-3, np.stack((x, y)), mantle)

    def bound(self) -> Ball | None:
        """A ball around the centre of the axis."""
        half = self.height / 2
        return (*self.centre, half), float(np.hypot(self.radius, half))


@dataclass(frozen=True, slots=True)
class Box:
    """A box on the ground at `centre` (x, y), rotated by `yaw` radians about z."""

    centre: tuple[float, float]
    size: tuple[float, float, float]
    yaw: float

    def hit(self, origin: Array, direction: Array) -> Array:
        """The slab method: a ray hits if the last entry precedes the first exit."""
        start, inverse = self._local(origin), safe_inverse(self._turn(direction))
        one, two = (-self._half - start) * inverse, (self._half - start) * inverse
        entry = np.minimum(one, two).max(axis=0)
        leave = np.maximum(one, two).min(axis=0)
        return np.where((entry <= leave) & (entry > NEAR), entry, MISS)

    def normal(self, points: Array) -> Array:
        """The normal of the nearest face."""
        local = self._local(points)
        axis = np.abs(local / self._half).argmax(axis=0)
        flat = np.where(np.arange(3)[:, None] == axis, np.sign(local), 0).astype(np.float32)
        c, s = np.float32(np.cos(self.yaw)), np.float32(np.sin(self.yaw))
        return np.stack((c * flat[0] - s * flat[1], s * flat[0] + c * flat[1], flat[2]))

    def surface(self, points: Array) -> Array:
        """The two coordinates in the plane of the face."""
        local = self._local(points)
        axis = np.abs(local / self._half).argmax(axis=0)
        return np.stack((np.where(axis == 0, local[1], local[0]), np.where(axis == 2, local[1], local[2])))

    def bound(self) -> Ball | None:
        """The ball through the corners."""
        return (*self.centre, self.size[2] / 2), float(np.linalg.norm(self.size)) / 2

    @property
    def _half(self) -> Array:
        return column(*self.size) / 2

    def _local(self, points: Array) -> Array:
        return self._turn(points - column(*self.centre, self.size[2] / 2))

    def _turn(self, vectors: Array) -> Array:
        c, s = np.float32(np.cos(self.yaw)), np.float32(np.sin(self.yaw))
        return np.stack((c * vectors[0] + s * vectors[1], c * vectors[1] - s * vectors[0], vectors[2]))


def _near_root(a: Array, b: Array, c: Array) -> Array:
    """The smaller root of a t^2 + 2 b t + c = 0; MISS if there is none in front of the origin."""
    discriminant = b * b - a * c
    t = (-b - np.sqrt(np.maximum(discriminant, 0))) / a
    return np.where((discriminant > 0) & (t > NEAR), t, MISS)
