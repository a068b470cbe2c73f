"""Base of depth sources: images with 16-bit PNG depth maps, decoded on access.

Legend: C channels, H W space.
"""

from abc import abstractmethod
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from evonas.data.augment import normalise
from evonas.data.base import Item, Split
from evonas.data.depth.augment import DepthAugment, Metres, Pixels, cut
from evonas.data.examined import Examined
from evonas.data.io.pairs import PairImages, PairSource, check_equal_sizes, dimensions
from evonas.data.io.pictures import open_numbers, open_picture
from evonas.data.io.split_lists import Frame
from evonas.data.statement import DepthCounts
from evonas.errors import DataError
from evonas.randomness import generator

# depth maps that are read to see what their numbers mean, and pixels of each
COUNTED, SAMPLED = 32, 10_000


@dataclass(eq=False)
class FrameSource(PairSource):
    """A source of images with measured depth.

    Args:
        augment: augmentation of `train`; None for the values published for the data set.
        others: see `PairSource`.
    """

    _: KW_ONLY
    augment: DepthAugment | None = None
    max_pixels: int = 4_000_000

    units_per_metre: ClassVar[float]
    published_augment: ClassVar[DepthAugment] = DepthAugment()

    @abstractmethod
    def fitted(self, image: Pixels, depth: Metres, split: Split) -> tuple[Pixels, Metres]:
        """The pair before augmentation, at least as large as the source's size."""

    def dataset(self, split: Split) -> "FrameImages":
        """One split; lists are read on first use of its length or items."""
        return FrameImages(split, self)

    def measured(self, path: Path) -> Metres:
        """The depth map H W of a file in metres, 0 where depth is unknown."""
        return read_depth(path, self.units_per_metre, self.max_pixels)

    def limits(self) -> tuple[float, float]:
        """Depths in metres between which measurements count; the task may narrow them."""
        return 0.0, np.inf

    def decoded(self, frame: Frame) -> tuple[Pixels, Metres]:
        """Image H W 3 and depth H W of a pair; raises a DataError if they differ in size."""
        image = np.asarray(open_picture(frame.image, self.max_pixels))
        depth = self.measured(frame.truth)
        check_equal_sizes(frame, image.shape, depth.shape)
        return image, depth

    def read(self, frame: Frame, split: Split) -> tuple[Pixels, Metres]:
        """Decodes a pair, before augmentation; raises as `decoded` and `prepared`."""
        return self.prepared(frame, *self.decoded(frame), split)

    def prepared(self, frame: Frame, image: Pixels, depth: Metres, split: Split) -> tuple[Pixels, Metres]:
        """A decoded pair as it is augmented; raises a DataError if it is smaller than the source's size."""
        if depth.shape[0] < self.size[0] or depth.shape[1] < self.size[1]:
            raise DataError(
                f"{frame.image} is {dimensions(image.shape)}, smaller than the window of {dimensions(self.size)}.",
                "Use smaller multiples of 32 for data.height and data.width.",
            )
        return self.fitted(image, depth, split)


class FrameImages(PairImages[FrameSource]):
    """Items: image (3 H W), depth in metres and valid (1 H W), all of the source's size."""

    def __getitem__(self, index: int) -> Item:
        index = self.position(index)
        source = self._source
        pixels, depth = source.read(self.frame(index), self.split)
        if self.augment and self.split == "train":
            random = generator(source.augment_seed, f"augment/{self.epoch}", index)
            augment = source.augment or source.published_augment
            image, depth = augment(pixels, depth, source.size, random)
        else:
            pixels, depth = centred(pixels, depth, source.size)
            image = pixels.astype(np.float32) / 255
        metres = torch.from_numpy(np.array(depth[None]))
        return {"image": normalise(image), "depth": metres, "valid": metres > 0}

    def class_names(self) -> tuple[str, ...]:
        """None."""
        return ()

    def examine(self, index: int) -> Examined:
        """Image and depth at their own size."""
        source, frame = self._source, self.frame(index)
        image, depth = source.decoded(frame)
        source.prepared(frame, image, depth, self.split)
        name, group = self.named(frame)
        return Examined(name, image, file=frame.image, truth_file=frame.truth, group=group, depth=depth)

    def limits(self) -> tuple[float, float]:
        """Depths in metres between which measurements count."""
        return self._source.limits()

    def depth_counts(self) -> DepthCounts:
        """Measured depths in up to `COUNTED` depth maps, in random order."""
        source, frames = self._source, self._source.frames(self.split)
        chosen = generator(0, "depth_counts").permutation(len(frames))[:COUNTED].tolist()
        depths = [source.measured(frames[place].truth).ravel() for place in chosen]
        # every map counts alike, whatever its size
        values = np.concatenate([each[:: max(1, len(each) // SAMPLED)] for each in depths])
        return DepthCounts.of(values, source.limits(), len(chosen), len(frames))


def read_depth(path: Path, units_per_metre: float, max_pixels: int) -> Metres:
    """A 16-bit PNG depth map as metres H W; 0 where depth is unknown.

    Raises:
        DataError: the file has 8 bits, or `open_numbers` refuses it.
    """
    numbers = open_numbers(path, max_pixels)
    if numbers.dtype != np.uint16:
        raise DataError(
            f"{path} is not a 16-bit depth map: it has at most 8 bits.",
            "Use the PNG files as published; converted copies have lost their depth.",
        )
    return numbers.astype(np.float32) / np.float32(units_per_metre)


def bottom_centred(image: Pixels, depth: Metres, size: tuple[int, int]) -> tuple[Pixels, Metres]:
    """The window of `size` at the bottom centre; for 352x1216 it is the crop of KITTI's benchmark."""
    top, left = depth.shape[0] - size[0], (depth.shape[1] - size[1]) // 2
    return cut(image, depth, top, left, size)


def centred(image: Pixels, depth: Metres, size: tuple[int, int]) -> tuple[Pixels, Metres]:
    """The window of `size` in the centre."""
    top, left = (depth.shape[0] - size[0]) // 2, (depth.shape[1] - size[1]) // 2
    return cut(image, depth, top, left, size)
