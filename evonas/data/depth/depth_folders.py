"""Depth data of the user: folders or lists of images and depth maps."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from evonas.data.base import Split
from evonas.data.depth.augment import Metres, Pixels
from evonas.data.depth.base import FrameSource
from evonas.data.io.pairs import NamedSplits, PairFolders
from evonas.data.io.pictures import open_measurements
from evonas.data.io.safe import MAX_PIXELS
from evonas.data.io.split_lists import Frame
from evonas.errors import UserError

SUFFIXES = (".png", ".tif", ".tiff", ".npy")
TREE = """\
<root>/<images>/<name>.png|jpg   <root>/<depth>/<name>.png|tif|npy
where data.images and data.depth are folders that may contain {split}, which is replaced by data.train,
data.validation or data.test. Or set data.lists=<folder> with a list <split>.txt for each split, whose lines
are: image depth, both relative to <root>."""


@dataclass(eq=False)
class DepthFolders(NamedSplits, FrameSource):
    """A source of images with depth maps: PNG of 16 bits, TIFF of 16 bits or floats, or .npy.

    Images and depth maps are scaled with their aspect ratio until they cover height x width, images bilinearly and
    depth by nearest neighbour; what exceeds it is cropped, at random if training is augmented, otherwise in the centre.

    Args:
        root: base folder of the paths below.
        scale: the number in a file that means one metre.
        invalid: numbers in files that mean unknown depth, besides 0, negative ones and those that are not finite.
        min_depth, max_depth: other depths, in metres, count as unknown.
        images, depth: folders of the images and of the depth maps.
        lists: folder of lists that replace the folders.
        train, test: names of the training and test split.
        validation: share of the training pairs in the validation split, or the name of an official one.
        others: see `FrameSource`.

    Raises:
        UserError: scale is not positive, or the depths are no range.
    """

    scale: float = 1000.0
    invalid: float | Sequence[float] = 0
    min_depth: float = 0.0
    max_depth: float = 10.0
    images: str = "images/{split}"
    depth: str = "depth/{split}"
    lists: str | None = None
    train: str = "train"
    test: str = "test"
    _: KW_ONLY
    height: int = 256
    width: int = 320
    validation: float | str = 0.1
    max_pixels: int = MAX_PIXELS

    name = "depth_folders"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.scale < np.inf:
            raise UserError(
                f"data.scale must be positive, got {self.scale}.",
                "It is the number in a file that means one metre: data.scale=1000 for millimetres.",
            )
        if not 0 <= self.min_depth < self.max_depth:
            raise UserError(
                f"data.min_depth={self.min_depth} and data.max_depth={self.max_depth} must be a range in metres.",
                "Try data.min_depth=0 data.max_depth=10.",
            )
        given = self.invalid if isinstance(self.invalid, Sequence) else [self.invalid]
        self.unknown = tuple(float(each) for each in given)

    def measured(self, path: Path) -> Metres:
        """The depth map of a file in metres; 0 where it is unknown."""
        numbers = open_measurements(path, self.max_pixels)
        with np.errstate(invalid="ignore", over="ignore"):
            known = (numbers > 0) & ~np.isin(numbers, self.unknown)
            metres = (np.where(known, numbers, 0).astype(np.float64) / self.scale).astype(np.float32)
        return np.where(np.isfinite(metres), metres, np.float32(0))

    def limits(self) -> tuple[float, float]:
        """The depths between which measurements count."""
        return self.min_depth, self.max_depth

    def prepared(self, frame: Frame, image: Pixels, depth: Metres, split: Split) -> tuple[Pixels, Metres]:  # noqa: ARG002
        """A pair that covers the source's size, in which depths outside the limits are unknown."""
        is_within = (depth >= self.min_depth) & (depth <= self.max_depth)
        return self.fitted(image, np.where(is_within, depth, np.float32(0)), split)

    def fitted(self, image: Pixels, depth: Metres, split: Split) -> tuple[Pixels, Metres]:  # noqa: ARG002
        """Scales the pair until it covers the source's size."""
        height, width = depth.shape
        factor = max(self.size[0] / height, self.size[1] / width)
        size = max(self.size[1], round(width * factor)), max(self.size[0], round(height * factor))
        if size == (width, height):
            return image, depth
        scaled = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
        return np.asarray(scaled), np.asarray(Image.fromarray(depth).resize(size, Image.Resampling.NEAREST))

    def details(self) -> dict[str, object]:
        """Includes what the numbers mean."""
        return {
            "scale": self.scale,
            "invalid": self.unknown,
            "min_depth": self.min_depth,
            "max_depth": self.max_depth,
        }

    def pairs(self, split: str) -> list[Frame]:
        """The pairs of the folders or the list of a split."""
        levels = 0 if self.grouping is None else self.grouping.levels
        return PairFolders(self.folder, self.images, self.depth, self.lists, TREE, levels, SUFFIXES).frames(
            split
        )
