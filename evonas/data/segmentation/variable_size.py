"""Images of many sizes as items of one: random crops to train on, whole images on a canvas to score.

Legend: H W space. Sizes are height and width.

A batch needs masks of one size, so scores cannot be taken at each mask's own. A whole
image is resized, keeping its ratio, until it fills the canvas in one direction; what is
left over at the right and below has no class and does not count. Its mask is resized
likewise (nearest) onto a canvas `truth_scale` times as large: where images have one size,
as in Cityscapes, that can be the masks' own size, and then scores are those of whole images
at full resolution. Elsewhere they differ from scores at each mask's own size by how borders
of classes are resampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from evonas.data.augment import Array
from evonas.data.base import Item, check_size
from evonas.data.io.pairs import Cut
from evonas.data.io.safe import MAX_PIXELS
from evonas.data.segmentation.base import IGNORE, MaskSource, Pixels, item, unit
from evonas.data.segmentation.photometric import Photometric
from evonas.errors import UserError

# windows that are looked at before a dominated one is taken after all
TRIES = 10

Size = tuple[int, int]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class CropAugment:
    """Resizes at random, cuts a window, mirrors and recolours; every number is drawn, whatever the switches.

    Args:
        scale: the long and the short side that an image just fits into at ratio 1.
        ratio: smallest and largest factor of both sides of `scale`, uniform.
        dominance: a window that one class fills beyond this share is drawn again, up to ten times in all.
        flip: probability of mirroring left and right.
        colour: how colours change.
    """

    scale: tuple[int, int] = (2048, 512)
    ratio: tuple[float, float] = (0.5, 2.0)
    dominance: float = 0.75
    flip: float = 0.5
    colour: Photometric = field(default_factory=Photometric)

    def __post_init__(self) -> None:
        if min(self.scale) < 1 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise UserError(
                f"data.augment.scale={list(self.scale)} with ratio={list(self.ratio)} is no range of sizes.",
                "As published: data.augment.scale=[2048,512] data.augment.ratio=[0.5,2.0]",
            )
        for name in ("dominance", "flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"data.augment.{name}={getattr(self, name)} is not between 0 and 1.")

    def __call__(
        self, image: Pixels, mask: Pixels, size: Size, random: np.random.Generator
    ) -> tuple[Pixels, Pixels]:
        """One window of an image and its mask, at most of `size`: smaller where the resized image is."""
        factor = random.uniform(*self.ratio)
        places, mirrored = random.random((TRIES, 2)), random.random()
        whole = scaled(mask.shape, max(self.scale) * factor, min(self.scale) * factor)
        window = min(size[0], whole[0]), min(size[1], whole[1])
        for place in places:
            box = _box(place, window, whole, mask.shape)
            labels = _sampled(mask, window, box)
            if _largest_share(labels) < self.dominance:
                break
        picture = np.asarray(Image.fromarray(image).resize(window[::-1], Image.Resampling.BILINEAR, box=box))
        if mirrored < self.flip:
            picture, labels = picture[:, ::-1], labels[:, ::-1]
        return self.colour(np.ascontiguousarray(picture), random), labels


class CanvasSource(MaskSource):
    """A source of images of any size; see the module for how they are scored.

    Args:
        root: the folder of the data set.
        height: of the canvas that whole images lie on, a multiple of 32; likewise `width`.
        crop: height and width of what is trained on, multiples of 32; None for those of the canvas.
        truth_scale: how many times as large the canvas of the masks is.
        holdout: share of the training pairs that is held out, between whole groups.
        holdout_seed: which of them; keep it fixed to compare runs on the same data.
        holdout_images: at most so many held-out pairs are scored, evenly spaced.
        augment: changes training pairs; `augment_seed` decides how.
        max_pixels: larger images are refused.
    """

    def __init__(
        self,
        root: str,
        height: int = 512,
        width: int = 1024,
        crop: Sequence[int] | None = None,
        truth_scale: int = 1,
        holdout: float = 0.05,
        holdout_seed: int = 0,
        holdout_images: int = 500,
        augment: CropAugment | None = None,
        augment_seed: int = 0,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        cut = Cut(holdout, holdout_seed, holdout_images)
        super().__init__(root, height, width, cut, augment_seed, max_pixels)
        if truth_scale < 1:
            raise UserError(f"data.truth_scale={truth_scale} leaves no mask.", "Try data.truth_scale=1.")
        self.truth_scale, self.augment = truth_scale, augment or CropAugment()
        self.crop = self.size if crop is None else check_size(*crop)

    def training(self, image: Pixels, mask: Pixels, random: np.random.Generator) -> Item:
        """A window of the size of the crop; where the resized image is smaller, there is no class."""
        picture, labels = self.augment(image, mask, self.crop, random)
        return filled(item(unit(picture), labels), self.crop, self.crop)

    def whole(self, image: Pixels, mask: Pixels) -> Item:
        """The whole image on the canvas, its mask on the larger one."""
        height, width = fitted(mask.shape, self.size)
        picture = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        labels = _sampled(mask, (height * self.truth_scale, width * self.truth_scale))
        truth = self.size[0] * self.truth_scale, self.size[1] * self.truth_scale
        return filled(item(unit(np.asarray(picture)), labels), self.size, truth)

    def details(self) -> dict[str, object]:
        """The size of the truth; only where it differs from the image's."""
        return {"truth_scale": self.truth_scale}


def fitted(shape: tuple[int, ...], canvas: Size) -> Size:
    """The largest size of an image's ratio on a canvas."""
    return _rounded(shape, min(canvas[0] / shape[0], canvas[1] / shape[1]))


def scaled(shape: tuple[int, ...], long: float, short: float) -> Size:
    """The largest size of an image's ratio whose longer and shorter side are within these."""
    return _rounded(shape, min(long / max(shape), short / min(shape)))


def _rounded(shape: tuple[int, ...], factor: float) -> Size:
    height, width = (max(1, round(side * factor)) for side in shape)
    return height, width


def filled(made: Item, size: Size, truth: Size) -> Item:
    """An item at a size: the mean colour and no class where it ends, at the right and below."""
    return {
        "image": _padded(made["image"], size, 0.0),
        "classes": _padded(made["classes"], truth, IGNORE),
    }


def _padded(tensor: Tensor, size: Size, value: float) -> Tensor:
    rows, columns = size[0] - tensor.shape[-2], size[1] - tensor.shape[-1]
    return F.pad(tensor, (0, columns, 0, rows), value=value) if rows or columns else tensor


def _box(place: Array, window: Size, whole: Size, source: tuple[int, ...]) -> Box:
    """A window of a resized image in the pixels of its source: left, top, right, bottom."""
    top, left = (int(share * (whole[axis] - window[axis] + 1)) for axis, share in enumerate(place))
    rows, columns = source[0] / whole[0], source[1] / whole[1]
    right, bottom = min((left + window[1]) * columns, source[1]), min((top + window[0]) * rows, source[0])
    return left * columns, top * rows, right, bottom


def _sampled(mask: Pixels, size: Size, box: Box | None = None) -> Pixels:
    return np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST, box=box))


def _largest_share(labels: Pixels) -> float:
    """How much of what has a class the most common one fills; 1.0 where there is one class or none."""
    counts = np.bincount(labels.ravel(), minlength=256)[:IGNORE]
    return float(counts.max() / max(1, counts.sum())) if (counts > 0).sum() > 1 else 1.0
