"""Images of different sizes as items of equal size: random crops for training, whole images for evaluation.

Legend: H W space. Sizes are height and width.

A batch needs masks of equal size, so metrics cannot be computed at the size of each mask. For evaluation a whole image
is resized with its aspect ratio to fit a canvas; the rest of the canvas, at the right and at the bottom, is ignored.
Its mask is resized in the same way (nearest neighbour) onto a canvas `truth_scale` times as large. If all images have
one size, as in Cityscapes, that can be the masks' own size, and metrics are those of whole images at full resolution.
Otherwise they differ from metrics at the masks' own sizes by the resampling of class borders.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from evonas.data.augment import Array
from evonas.data.base import Item, check_size
from evonas.data.segmentation.base import IGNORE, MaskSource, Pixels, item, unit
from evonas.data.segmentation.photometric import Photometric
from evonas.errors import UserError

# attempts to find a window that no class dominates
TRIES = 10

Size = tuple[int, int]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class CropAugment:
    """Random resize, crop, flip and photometric distortion.

    Every random number is drawn whether it is used or not, so that switching one operation off changes no other.

    Args:
        scale: long and short side of the box that an image is fitted into at ratio 1.
        ratio: minimum and maximum factor of `scale`, uniform.
        dominance: windows in which one class has a larger share are redrawn, up to `TRIES` windows in total.
        flip: probability of a horizontal flip.
        colour: photometric distortion; None for none.

    Raises:
        UserError: a value is out of range.
    """

    scale: tuple[int, int] = (2048, 512)
    ratio: tuple[float, float] = (0.5, 2.0)
    dominance: float = 0.75
    flip: float = 0.5
    colour: Photometric | None = field(default_factory=Photometric)

    def __post_init__(self) -> None:
        if min(self.scale) < 1 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise UserError(
                "data.augment needs scale >= 1 and 0 < ratio[0] <= ratio[1], got "
                f"scale={list(self.scale)} and ratio={list(self.ratio)}.",
                "As published: data.augment.scale=[2048,512] data.augment.ratio=[0.5,2.0]",
            )
        for name in ("dominance", "flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"data.augment.{name} must be in [0, 1], got {getattr(self, name)}.")

    def __call__(
        self, image: Pixels, mask: Pixels, size: Size, random: np.random.Generator
    ) -> tuple[Pixels, Pixels]:
        """A window of an image and its mask of `size`, or smaller if the resized image is."""
        factor = random.uniform(*self.ratio)
        places, mirrored = random.random((TRIES, 2)), random.random()
        whole = scaled(mask.shape, max(self.scale) * factor, min(self.scale) * factor)
        window = min(size[0], whole[0]), min(size[1], whole[1])
        for place in places:
            box = _box(place, window, whole, mask.shape)
            labels = _sampled(mask, window, box)
            if _largest_share(labels) < self.dominance:
                break
        crop = np.asarray(Image.fromarray(image).resize(window[::-1], Image.Resampling.BILINEAR, box=box))
        if mirrored < self.flip:
            crop, labels = crop[:, ::-1], labels[:, ::-1]
        crop = np.ascontiguousarray(crop)
        return crop if self.colour is None else self.colour(crop, random), labels


@dataclass(eq=False)
class CanvasSource(MaskSource):
    """A source of images of any size; see the module for their evaluation.

    Args:
        height, width: size of the canvas in evaluation, multiples of 32.
        crop: height and width of training crops, multiples of 32; None for the size of the canvas.
        truth_scale: factor between the canvas of images and that of masks.
        augment: augmentation of `train`; None for the published values.
        others: see `PairSource`.

    Raises:
        UserError: truth_scale is below 1, or a size is not a multiple of 32.
    """

    _: KW_ONLY
    width: int = 1024
    crop: Sequence[int] | None = None
    truth_scale: int = 1
    validation_images: int = 500
    augment: CropAugment | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.truth_scale < 1:
            raise UserError(f"data.truth_scale must be at least 1, got {self.truth_scale}.")
        self.crop_size = self.size if self.crop is None else check_size(*self.crop)

    def training(self, image: Pixels, mask: Pixels, random: np.random.Generator) -> Item:
        """A random window of the crop's size; where the resized image is smaller, pixels are ignored."""
        crop, labels = (self.augment or CropAugment())(image, mask, self.crop_size, random)
        return filled(item(unit(crop), labels), self.crop_size, self.crop_size)

    def whole(self, image: Pixels, mask: Pixels) -> Item:
        """The whole image on the canvas, and its mask on the scaled canvas."""
        height, width = fitted(mask.shape, self.size)
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        labels = _sampled(mask, (height * self.truth_scale, width * self.truth_scale))
        truth = self.size[0] * self.truth_scale, self.size[1] * self.truth_scale
        return filled(item(unit(np.asarray(resized)), labels), self.size, truth)

    def details(self) -> dict[str, object]:
        """Includes the scale of the masks."""
        return {"truth_scale": self.truth_scale}


def fitted(shape: tuple[int, ...], canvas: Size) -> Size:
    """The largest size with an image's aspect ratio that fits a canvas."""
    return _rounded(shape, min(canvas[0] / shape[0], canvas[1] / shape[1]))


def scaled(shape: tuple[int, ...], long: float, short: float) -> Size:
    """The largest size with an image's aspect ratio whose long and short side are at most these."""
    return _rounded(shape, min(long / max(shape), short / min(shape)))


def _rounded(shape: tuple[int, ...], factor: float) -> Size:
    height, width = (max(1, round(side * factor)) for side in shape)
    return height, width


def filled(made: Item, size: Size, truth: Size) -> Item:
    """An item padded at the right and the bottom: images to `size` with the mean colour, masks to `truth` with 255."""

    def padded(tensor: Tensor, target: Size, value: float) -> Tensor:
        rows, columns = target[0] - tensor.shape[-2], target[1] - tensor.shape[-1]
        return F.pad(tensor, (0, columns, 0, rows), value=value) if rows or columns else tensor

    return {
        "image": padded(made["image"], size, 0.0),
        "classes": padded(made["classes"], truth, IGNORE),
    }


def _box(place: Array, window: Size, whole: Size, source: tuple[int, ...]) -> Box:
    """A window of a resized image in pixels of the original image: left, top, right, bottom."""
    top, left = (int(share * (whole[axis] - window[axis] + 1)) for axis, share in enumerate(place))
    rows, columns = source[0] / whole[0], source[1] / whole[1]
    right, bottom = min((left + window[1]) * columns, source[1]), min((top + window[0]) * rows, source[0])
    return left * columns, top * rows, right, bottom


def _sampled(mask: Pixels, size: Size, box: Box | None = None) -> Pixels:
    return np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST, box=box))


def _largest_share(labels: Pixels) -> float:
    """The share of the most common class among pixels that are not ignored; 1.0 for one class or none."""
    counts = np.bincount(labels.ravel(), minlength=256)[:IGNORE]
    return float(counts.max() / max(1, counts.sum())) if (counts > 0).sum() > 1 else 1.0
