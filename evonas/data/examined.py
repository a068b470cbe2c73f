"""What one image of a data set and its ground truth show, at their own size, as a person would look at them.

Legend: C channels, N objects, H W space.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from evonas.data.augment import denormalise
from evonas.data.base import Images

IGNORE = 255


@dataclass(frozen=True, slots=True)
class Examined:
    """An image with its ground truth; what a task does not have is None or empty.

    Args:
        name: name of the image in messages.
        picture: the upright image, H W 3.
        file, truth_file: the files.
        group: name of the group that lies in one split, if there are groups.
        classes: class ids, H W, 255 where pixels are ignored.
        unknown: number of pixels by value or colour that means no class.
        hint: what to type about these.
        boxes: x1 y1 x2 y2 in pixels of the picture, N 4.
        labels: class ids of the boxes, N.
        masks: decodes `covered`; called only for images that are shown, because decoding takes as long as reading.
        depth: metres, H W, 0 where unknown.
        label: class id of the image.
    """

    name: str
    picture: NDArray[np.uint8] | None = None
    file: Path | None = None
    truth_file: Path | None = None
    group: str | None = None
    classes: NDArray[np.uint8] | None = None
    unknown: Mapping[str, int] = field(default_factory=dict)
    hint: str = ""
    boxes: NDArray[np.float64] | None = None
    labels: NDArray[np.int64] | None = None
    masks: Callable[[], NDArray[np.int32]] | None = None
    depth: NDArray[np.float32] | None = None
    label: int | None = None

    @property
    def covered(self) -> NDArray[np.int32] | None:
        """Class id of the object whose mask covers a pixel, the smallest of several, H W, -1 where none does."""
        return None if self.masks is None else self.masks()

    def reduced(self, side: int) -> "Examined":
        """A copy whose longer side has at most this many pixels, to be kept and shown."""
        if self.picture is None:
            return self
        height, width = self.picture.shape[:2]
        factor = min(1.0, side / max(height, width))
        size = max(1, round(width * factor)), max(1, round(height * factor))
        nearest, area = Image.Resampling.NEAREST, Image.Resampling.BOX

        def shrunk(array: Any, how: Image.Resampling = nearest) -> Any:
            return None if array is None else np.asarray(Image.fromarray(array).resize(size, how))

        # the copy must not keep the whole picture
        decode = self.masks
        return replace(
            self,
            picture=shrunk(self.picture, area),
            classes=shrunk(self.classes),
            masks=None if decode is None else lambda: shrunk(decode()),
            depth=shrunk(self.depth),
            boxes=None if self.boxes is None else self.boxes * np.tile(np.array(size) / (width, height), 2),
        )


@runtime_checkable
class Examinable(Protocol):
    """A dataset of files that can be looked at one by one, without augmentation."""

    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their ids; empty for depth."""
        ...

    def examine(self, index: int) -> Examined:
        """An image with its ground truth, read as for training; a DataError says what would stop training."""
        ...


def examine(images: Images, index: int) -> Examined:
    """An image with its ground truth; of a dataset that is not `Examinable` as its items show them.

    Raises:
        DataError: the image or its ground truth cannot be read.
    """
    if isinstance(images, Examinable):
        return images.examine(index)
    images.augment = False
    item, name = images[index], f"item {index}"
    shown = next((each for each in item.values() if each.ndim >= 3 and each.shape[-3] == 3), None)
    picture = None if shown is None else denormalise(shown.reshape(-1, *shown.shape[-3:])[:1])[0]
    classes, depth, labels = (item.get(key) for key in ("classes", "depth", "labels"))
    found = Examined(name, picture)
    if classes is not None:
        return replace(found, classes=classes.numpy().astype(np.uint8))
    if depth is not None:
        known = torch.where(item["valid"], depth, 0.0) if "valid" in item else depth
        return replace(found, depth=known.numpy().reshape(known.shape[-2:]))
    if labels is not None and "boxes" in item:
        is_object = labels >= 0
        return replace(
            found, boxes=item["boxes"][is_object].double().numpy(), labels=labels[is_object].numpy()
        )
    return replace(found, label=int(item["label"])) if "label" in item else found


def spread(length: int, at_most: int) -> list[int]:
    """At most `at_most` evenly spaced indices below `length`."""
    if at_most >= length:
        return list(range(length))
    return np.unique(np.linspace(0, length - 1, at_most).round().astype(int)).tolist()
