"""Annotated objects of an image, and the Protocol of detection sources.

Legend: N objects, M side of a mask in an item, H W space.

A detection source is a `Source` (`evonas/data/base.py`) whose items contain `image` and, padded at the end to a common
N, `boxes` N 4 (x1 y1 x2 y2 in pixels of the item), `labels` N (-1 for padding) and, with masks, `masks` N M M; see
`evonas/nn/detection/base.py`. `scale` 2 has the factors from the file's x and y to the item's, and `picture` 2 the
arguments of `objects`: metrics are computed on the boxes and masks of the file, in its pixels, including crowds.
`dataset(split).described(index)` is an item without augmentation, image and masks, and opens no image.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from evonas.data.base import Images, Split

MASK_SIDE = 112
EMPTY = -1

Shape = dict[str, Any] | list[list[float]]


@dataclass(frozen=True, slots=True)
class Objects:
    """All objects of one image, in pixels of its file.

    Args:
        height, width: size of the image.
        boxes: x1 y1 x2 y2, N 4, within the image.
        labels: class ids, N.
        areas: areas given in the file, N; in COCO those of the masks.
        crowd: whether each is a region of many objects, which is ignored in training and evaluation, N.
        shapes: polygons or run lengths (RLE) of each object; empty without masks.
    """

    height: int
    width: int
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    shapes: tuple[Shape, ...] = ()

    def single(self) -> NDArray[np.int64]:
        """Indices of the objects that are not crowds."""
        return np.flatnonzero(~self.crowd)


@runtime_checkable
class ObjectSource(Protocol):
    """See the module's contract."""

    size: tuple[int, int]
    has_masks: bool

    def dataset(self, split: Split) -> Images: ...

    def class_names(self) -> tuple[str, ...]: ...

    def objects(self, part: int, place: int) -> Objects: ...
