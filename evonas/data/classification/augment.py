"""Augmentation for image classification: random crops, RandAugment or AutoAugment, random erasing, cutout, mixup and
cutmix.

The recipe is that of VSSD's published classification config, which is Swin's: crops of 8-100 % of the area,
RandAugment with magnitude 9 of 10, random erasing with probability 0.25, mixup 0.8 or cutmix 1.0 on every image. The
transforms are torchvision's and use torch's generator, which is seeded per item and restored, so that an item is a
function of its seed.

Legend: H W space.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from evonas.data.augment import MEAN, STD
from evonas.data.base import check_size
from evonas.errors import UserError

# torchvision counts magnitudes in bins; eleven bins make 9 what timm and VSSD call 9 of 10
MAGNITUDES = 11


class Views:
    """Converts decoded images to tensors, with augmentation for training.

    Args:
        size: height and width of the tensors.
        resize: shorter side before the centre crop in evaluation.
        scale: minimum and maximum share of the area in a training crop.
        operations: number of RandAugment operations per image; 0 for none.
        magnitude: their magnitude, 0-10.
        erase: probability of random erasing.
        auto_augment: a policy of AutoAugment in place of RandAugment: imagenet, cifar10 or svhn (Cubuk et al.,
            arXiv 1805.09501); None for none.
        cutout: side in pixels of a grey square in every training image (DeVries and Taylor, arXiv 1708.04552); it lies
            within the image. 0 for none.
        mixup: alpha of mixup, 0 for none (Zhang et al., arXiv 1710.09412).
        cutmix: alpha of cutmix, 0 for none (Yun et al., arXiv 1905.04899); with both, either half the time.
    """

    def __init__(
        self,
        size: int = 224,
        resize: int = 256,
        scale: Sequence[float] = (0.08, 1.0),
        operations: int = 2,
        magnitude: int = 9,
        erase: float = 0.25,
        mixup: float = 0.8,
        cutmix: float = 1.0,
        auto_augment: str | None = None,
        cutout: int = 0,
    ) -> None:
        self.size = check_size(size, size)
        if resize < size or not 0 <= magnitude < MAGNITUDES or min(mixup, cutmix) < 0:
            raise UserError(
                "data.views needs resize >= size, magnitude in 0-10, mixup >= 0 and cutmix >= 0, got "
                f"size={size}, resize={resize}, magnitude={magnitude}, mixup={mixup} and cutmix={cutmix}.",
                "Check data.views.",
            )
        if not 0 <= cutout < size:
            raise UserError(
                f"data.views.cutout={cutout} is no side in pixels below {size}.", "Try data.views.cutout=16."
            )
        policies = {policy.value: policy for policy in v2.AutoAugmentPolicy}
        if auto_augment is not None and auto_augment not in policies:
            raise UserError(
                f"data.views.auto_augment={auto_augment} is unknown.", f"Known: {', '.join(policies)}"
            )
        self._mixers = [
            maker(alpha=alpha, num_classes=2)
            for maker, alpha in ((v2.MixUp, mixup), (v2.CutMix, cutmix))
            if alpha
        ]
        self._evaluation = v2.Compose([_resize(resize), v2.CenterCrop(size), *_to_tensor()])
        fill = [round(255 * float(channel)) for channel in MEAN]
        bilinear = InterpolationMode.BILINEAR
        operation: list[v2.Transform] = []
        if auto_augment is not None:
            operation = [v2.AutoAugment(policies[auto_augment], bilinear, fill=fill)]
        elif operations:
            operation = [v2.RandAugment(operations, magnitude, MAGNITUDES, bilinear, fill=fill)]
        # the mean of the images is zero once they are normalised
        square = (cutout / size) ** 2
        hidden = [v2.RandomErasing(1.0, (square, square), (1.0, 1.0), value=0)] if cutout else []
        self._training = v2.Compose(
            [
                v2.RandomResizedCrop(size, tuple(scale), interpolation=InterpolationMode.BICUBIC),
                v2.RandomHorizontalFlip(),
                *operation,
                *_to_tensor(),
                v2.RandomErasing(erase, value="random"),
                *hidden,
            ]
        )

    @property
    def mixes(self) -> bool:
        """Whether training images are mixed (mixup or cutmix)."""
        return bool(self._mixers)

    def evaluation(self, image: Image.Image) -> Tensor:
        """The normalised centre crop, 3 H W."""
        whole: Tensor = self._evaluation(image)
        return whole

    def training(self, image: Image.Image) -> Tensor:
        """A normalised random view, 3 H W; call it within `drawn`."""
        view: Tensor = self._training(image)
        return view

    def mixed(self, view: Tensor, other: Tensor) -> tuple[Tensor, float]:
        """The mix of two views, and the share of the first; call it within `drawn`."""
        mixer = self._mixers[int(torch.randint(len(self._mixers), ()))]
        # of a pair, the first gets the second mixed in; its label becomes (share, 1 - share)
        views, shares = mixer(torch.stack([view, other]), torch.tensor([0, 1]))
        return views[0], float(shares[0, 0])


@contextmanager
def drawn(seed: int) -> Iterator[None]:
    """Seeds torch's CPU generator and restores it at the end."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _resize(side: int) -> v2.Transform:
    return v2.Resize(side, InterpolationMode.BICUBIC)


def _to_tensor() -> list[v2.Transform]:
    mean, deviation = MEAN.tolist(), STD.tolist()
    return [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(mean, deviation),
        v2.ToPureTensor(),
    ]
