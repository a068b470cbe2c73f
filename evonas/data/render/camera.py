"""A pinhole camera. Camera axes: x right, y down, z forward; pixel centres are at half-integers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evonas.data.render.solids import Array

Window = tuple[slice, slice]
FIELD_OF_VIEW = np.deg2rad(62.0)


@dataclass(frozen=True, slots=True)
class Camera:
    """Position and orientation of a camera.

    Args:
        position: x, y, z in metres.
        heading: angle from the world's y axis towards x in radians.
        pitch: angle below the horizon in radians.
    """

    position: tuple[float, float, float]
    heading: float
    pitch: float

    def pose(self) -> NDArray[np.float64]:
        """The 4x4 camera-to-world matrix."""
        (sh, ch), (sp, cp) = _sin_cos(self.heading), _sin_cos(self.pitch)
        matrix = np.eye(4)
        matrix[:3, 0] = ch, -sh, 0
        matrix[:3, 1] = -sh * sp, -ch * sp, -cp
        matrix[:3, 2] = sh * cp, ch * cp, -sp
        matrix[:3, 3] = self.position
        return matrix

    def rays(self, height: int, width: int) -> Array:
        """World directions (3, H*W) with camera z of one, so that the distance of a hit is its depth."""
        k = intrinsics(height, width)
        x = (np.arange(width) + 0.5 - k[0, 2]) / k[0, 0]
        y = (np.arange(height) + 0.5 - k[1, 2]) / k[1, 1]
        grid = np.stack((np.tile(x, height), np.repeat(y, width), np.ones(height * width)))
        return (self.pose()[:3, :3] @ grid).astype(np.float32)

    def window(self, centre: tuple[float, float, float], radius: float, size: tuple[int, int]) -> Window:
        """Rows and columns of an image of `size` outside which a ball is not visible.

        They bound the image of the ball's bounding cube in camera axes, which is cheap and never too small.
        """
        height, width = size
        pose, k = self.pose(), intrinsics(height, width)
        x, y, z = (np.array(centre) - pose[:3, 3]) @ pose[:3, :3]
        if z - radius < 0.1:
            return slice(0, height), slice(0, width)
        return (
            _span(y, z, radius, k[1, 1], k[1, 2], height),
            _span(x, z, radius, k[0, 0], k[0, 2], width),
        )


def _span(offset: float, depth: float, radius: float, focal: float, centre: float, end: int) -> slice:
    """The range of pixels that offset +- radius projects to, at all depths within +- radius."""
    edges = [(offset + s * radius) / (depth + t * radius) for s in (-1, 1) for t in (-1, 1)]
    first = np.clip(np.floor(focal * min(edges) + centre), 0, end)
    last = np.clip(np.ceil(focal * max(edges) + centre), 0, end)
    return slice(int(first), int(last))


def intrinsics(height: int, width: int) -> NDArray[np.float64]:
    """The 3x3 matrix of a camera with square pixels; all scenes share it, so that scale can be learnt."""
    focal = width / 2 / np.tan(FIELD_OF_VIEW / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])


def _sin_cos(angle: float) -> tuple[float, float]:
    return float(np.sin(angle)), float(np.cos(angle))
