"""Colour maps for visualisation, suited to colour-blind readers and print."""

import matplotlib
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

# Okabe and Ito (2008), then darker and lighter neighbours from Paul Tol's muted scheme
CLASS_COLOURS = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (136, 34, 85),
    (51, 34, 136),
    (221, 221, 221),
    (153, 153, 51),
    (17, 119, 51),
)
BLACK = (0, 0, 0)


def class_picture(labels: NDArray[np.int64], ignored: NDArray[np.bool_] | None = None) -> Pixels:
    """Class ids H W as colours H W 3; ignored pixels are black. Colours repeat after twelve classes."""
    colours = np.array(CLASS_COLOURS, dtype=np.uint8)[labels % len(CLASS_COLOURS)]
    if ignored is not None:
        colours[ignored] = BLACK
    return colours


def depth_picture(depth: NDArray[np.floating], far: float, valid: NDArray[np.bool_] | None = None) -> Pixels:
    """Depth H W in metres as colours H W 3: near is yellow, `far` and beyond dark blue, invalid pixels black."""
    nearness = 1 - np.clip(np.nan_to_num(depth, nan=far) / far, 0, 1)
    colours = matplotlib.colormaps["cividis"](nearness, bytes=True)[..., :3].copy()
    if valid is not None:
        colours[~valid] = BLACK
    return np.ascontiguousarray(colours)
