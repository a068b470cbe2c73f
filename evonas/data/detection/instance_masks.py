"""Masks from polygons and run lengths, by COCO's own code.

Legend: M side of a mask in an item, H W space.
"""

from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evonas.data.detection.base import Shape
from evonas.errors import DataError, UserError

Mask = NDArray[np.uint8]
Box = tuple[float, float, float, float]


def whole(shape: Shape, height: int, width: int) -> Mask:
    """A mask H W of 0 and 1, in the pixels of the file."""
    if not isinstance(shape, dict):
        return _filled(shape, height, width)
    return _decoded(shape, height, width)


def cut(shape: Shape, height: int, width: int, box: Box, side: int) -> Mask:
    """The part of a mask that a box spans, stretched to M M.

    Polygons are stretched before they are filled, so nothing is lost to the pixels of the file.
    """
    left, top, right, bottom = box
    if isinstance(shape, dict):
        image = Image.fromarray(_decoded(shape, height, width))
        return np.asarray(image.resize((side, side), Image.Resampling.NEAREST, box=box))
    scale = np.array([side / (right - left), side / (bottom - top)])
    corner = np.array([left, top])
    moved = [((np.reshape(each, (-1, 2)) - corner) * scale).flatten().tolist() for each in shape]
    return _filled(moved, side, side)


def _filled(polygons: list[list[float]], height: int, width: int) -> Mask:
    mask = _pycocotools()
    runs = mask.merge(mask.frPyObjects(polygons, height, width))
    found: Mask = mask.decode(runs)
    return found


def _decoded(shape: dict[str, object], height: int, width: int) -> Mask:
    mask = _pycocotools()
    runs = mask.frPyObjects(shape, height, width) if isinstance(shape["counts"], list) else shape
    found: Mask = mask.decode(runs)
    if found.shape != (height, width):
        raise DataError(
            f"Run lengths give a mask of {found.shape}, not {(height, width)}.", "Encode them again."
        )
    return found


def _pycocotools() -> ModuleType:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise UserError("Masks need pycocotools.", "pip install 'evonas[det]'") from error
    return mask
