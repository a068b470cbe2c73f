"""What a detector looks for: the objects of an image, and what a source of them promises.

Legend: N objects, M side of a mask in an item, H W space.

A source of objects is a `Source` (`evonas/data/base.py`) whose items hold `image`, and padded to one N at
the end `boxes` N 4 (x1 y1 x2 y2 in pixels of the item), `labels` N (-1 where there is none) and with masks
`masks` N M M, as `evonas/nn/detection/base.py` says. `scale` 2 is what x and y of the file were multiplied
by, and `picture` 2 leads to `objects`: scores are taken on the file's own boxes and masks, in its own pixels,
crowds included. `dataset(split).described(index)` is an un-augmented item without image and masks: it opens
no file.
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
    """All objects of one image, in the pixels of its file.

    Args:
        height, width: of the image.
        boxes: x1 y1 x2 y2, N 4, within the image.
        labels: numbers of classes.
        areas: as the file has them; COCO's are those of the masks.
        crowd: regions of many objects, which count for nobody and against nobody.
        shapes: polygons or run lengths, one each, or none at all.
    """

    height: int
    width: int
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    shapes: tuple[Shape, ...] = ()

    def single(self) -> NDArray[np.int64]:
        """The places of what is no crowd."""
        return np.flatnonzero(~self.crowd)


@runtime_checkable
class ObjectSource(Protocol):
    """See the module."""

    size: tuple[int, int]
    has_masks: bool

    def dataset(self, split: Split) -> Images: ...

    def class_names(self) -> tuple[str, ...]: ...

    def objects(self, part: int, place: int) -> Objects: ...
