"""Pictures with depth for the trees: rendered scenes, so that networks can learn from them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evonas.data.render.scene import make_scene
from evonas.data.render.trace import render

FARTHEST = 80.0


def pair(number: int, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """An image H W 3 and its depth H W in metres, 0 where it shows the sky."""
    scene = make_scene(7, number)
    view = render(scene, scene.view(0), height, width)
    depth = np.where(view.depth < FARTHEST, view.depth, 0).astype(np.float32)
    return view.rgb, depth


def save_depth(path: Path, depth: NDArray[np.float32], units_per_metre: float) -> None:
    """A PNG of one 16-bit channel, as both data sets have them."""
    Image.fromarray(np.rint(depth * units_per_metre).astype(np.uint16)).save(path)


def spread(total: int, places: int) -> list[int]:
    """Whole numbers, as equal as possible, that sum to `total`."""
    return [total // places + (place < total % places) for place in range(places)]
