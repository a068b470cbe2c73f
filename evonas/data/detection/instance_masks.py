"""Decoding of instance masks from polygons and run lengths (RLE) with pycocotools.

Legend: M side of a mask in an item, H W space.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evonas.data.detection.base import Shape
from evonas.errors import DataError, UserError

Mask = NDArray[np.uint8]
Box = tuple[float, float, float, float]
# how far a polygon may reach beyond its box, in boxes, to be rasterised at the box's scale: a rasteriser's memory grows
# with the length of the edges
MOST_BOXES = 16.0


def decoded(shape: Shape, height: int, width: int) -> Mask:
    """The mask H W of a shape, with values 0 and 1.

    Raises:
        DataError: run lengths give a mask of another size.
        UserError: pycocotools is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise UserError("Masks need pycocotools.", "pip install 'evonas[det]'") from error
    if isinstance(shape, list):
        runs = mask.merge(mask.frPyObjects(shape, height, width))
    elif isinstance(shape["counts"], list):
        runs = mask.frPyObjects(shape, height, width)
    else:
        runs = shape
    found: Mask = mask.decode(runs)
    if found.shape != (height, width):
        raise DataError(
            f"Run lengths give a mask of {found.shape}, not {(height, width)}.", "Encode them again."
        )
    return found


def cut(shape: Shape, height: int, width: int, box: Box, side: int) -> Mask:
    """The part of a mask inside a box (x1 y1 x2 y2), resized to M M with M = `side`.

    Polygons are scaled before they are rasterised, so that no detail is lost to the pixels of the file.
    """
    left, top, right, bottom = box
    if isinstance(shape, list):
        scale, corner = np.array([side / (right - left), side / (bottom - top)]), np.array([left, top])
        moved = [((np.reshape(each, (-1, 2)) - corner) * scale) for each in shape]
        if max(float(np.abs(each).max()) for each in moved) <= MOST_BOXES * side:
            return decoded([each.flatten().tolist() for each in moved], side, side)
    image = Image.fromarray(decoded(shape, height, width))
    return np.asarray(image.resize((side, side), Image.Resampling.NEAREST, box=box))
