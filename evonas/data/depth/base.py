"""Frames on disk: an image and a 16-bit PNG of its depth, decoded when they are asked for.

Legend: C channels, H W space.
"""

from abc import abstractmethod
from pathlib import Path

import numpy as np
import torch

from evonas.data.augment import Array, normalise
from evonas.data.base import Item, Split
from evonas.data.depth.augment import DepthAugment, Metres, Pixels, cut
from evonas.data.io.pairs import Cut, PairImages, PairSource, spelt
from evonas.data.io.safe import open_image
from evonas.data.io.split_lists import Frame
from evonas.errors import DataError
from evonas.randomness import generator

# Pillow's modes of a PNG with one channel of 16 bits
SIXTEEN_BITS = ("I;16", "I;16B", "I")


class FrameSource(PairSource):
    """A source of images with measured depth; what differs between data sets is left to subclasses.

    Args:
        root: the folder of the data set.
        height: of the images given to networks, a multiple of 32; likewise `width`.
        holdout: share of the training frames that is held out, by whole drives or scenes.
        holdout_seed: which of them; keep it fixed to compare runs on the same data.
        holdout_images: at most so many held-out frames are scored, evenly spaced.
        augment: changes training pairs; `augment_seed` decides how.
        max_pixels: larger images are refused.
    """

    units_per_metre: float

    def __init__(
        self,
        root: str,
        height: int,
        width: int,
        holdout: float,
        holdout_seed: int,
        holdout_images: int,
        augment: DepthAugment,
        augment_seed: int,
        max_pixels: int,
    ) -> None:
        cut_of = Cut(holdout, holdout_seed, holdout_images)
        super().__init__(root, height, width, cut_of, augment_seed, max_pixels)
        self.augment = augment

    @abstractmethod
    def fitted(self, image: Pixels, depth: Metres, split: Split) -> tuple[Pixels, Metres]:
        """The pair before augmentation: at least of the source's size."""

    def dataset(self, split: Split) -> "FrameImages":
        """One split; lists are read at the first use of its length or items."""
        return FrameImages(split, self)

    def read(self, frame: Frame, split: Split) -> tuple[Pixels, Metres]:
        """A decoded pair of one size, before augmentation."""
        image = np.asarray(open_image(frame.image, self.max_pixels).convert("RGB"))
        depth = read_depth(frame.truth, self.units_per_metre, self.max_pixels)
        if image.shape[:2] != depth.shape:
            raise DataError(
                f"{frame.truth} is {spelt(depth.shape)}, its image {frame.image} is {spelt(image.shape)}.",
                "Replace the file that does not belong to the other.",
            )
        if depth.shape[0] < self.size[0] or depth.shape[1] < self.size[1]:
            raise DataError(
                f"{frame.image} is {spelt(image.shape)}, smaller than the window of {spelt(self.size)}.",
                "Use smaller multiples of 32 for data.height and data.width.",
            )
        return self.fitted(image, depth, split)


class FrameImages(PairImages[FrameSource]):
    """Items: image (3 H W), depth in metres and valid (1 H W), all of the source's size.

    Each access decodes; nothing is kept, so memory does not grow with the data set.
    """

    def __getitem__(self, index: int) -> Item:
        index = self.position(index)
        source = self._source
        image, depth = source.read(self.frame(index), self.split)
        if self.augment and self.split == "train":
            random = generator(source.augment_seed, f"augment/{self.epoch}", index)
            return _item(*source.augment(image, depth, source.size, random))
        image, depth = centred(image, depth, source.size)
        return _item(image.astype(np.float32) / 255, depth)


def read_depth(path: Path, units_per_metre: float, max_pixels: int) -> Metres:
    """Metres H W of a 16-bit PNG, 0 where nothing was measured; 8-bit and colour files are a DataError."""
    image = open_image(path, max_pixels)
    if image.mode not in SIXTEEN_BITS:
        raise DataError(
            f"{path} is not a 16-bit depth map (mode {image.mode}).",
            "Use the PNG files as published; converted copies have lost their depth.",
        )
    return np.asarray(image).astype(np.float32) / np.float32(units_per_metre)


def bottom_centred(image: Pixels, depth: Metres, size: tuple[int, int]) -> tuple[Pixels, Metres]:
    """The window of `size` at the bottom, centred: KITTI's benchmark crop, 352x1216, for any size."""
    top, left = depth.shape[0] - size[0], (depth.shape[1] - size[1]) // 2
    return cut(image, depth, top, left, size)


def centred(image: Pixels, depth: Metres, size: tuple[int, int]) -> tuple[Pixels, Metres]:
    """The window of `size` in the middle."""
    top, left = (depth.shape[0] - size[0]) // 2, (depth.shape[1] - size[1]) // 2
    return cut(image, depth, top, left, size)


def _item(image: Array, depth: Metres) -> Item:
    metres = torch.from_numpy(np.array(depth[None]))
    return {"image": normalise(image), "depth": metres, "valid": metres > 0}
