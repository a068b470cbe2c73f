"""Augmentation for image classification: random crops, RandAugment, random erasing, mixup and cutmix.

The recipe is that of VSSD's published classification config, which is Swin's: crops of 8-100 % of the area,
RandAugment with magnitude 9 of 10, random erasing with probability 0.25, mixup 0.8 or cutmix 1.0 on every image. The
transforms are torchvision's and use torch's generator, which is seeded per item and restored, so that an item is a
function of its seed.

Legend: H W space.
"""

from collections.abc import Callable, Iterator, Sequence
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
    ) -> None:
        self.size = check_size(size, size)
        if resize < size or not 0 <= magnitude < MAGNITUDES or min(mixup, cutmix) < 0:
            raise UserError(
                "data.views needs resize >= size, magnitude in 0-10, mixup >= 0 and cutmix >= 0, got "
                f"size={size}, resize={resize}, magnitude={magnitude}, mixup={mixup} and cutmix={cutmix}.",
                "Check data.views.",
            )
        self._mixers = [
            maker(alpha=alpha, num_classes=2)
            for maker, alpha in ((v2.MixUp, mixup), (v2.CutMix, cutmix))
            if alpha
        ]
        self._evaluation = v2.Compose([_resize(resize), v2.CenterCrop(size), *_to_tensor()])
        self._training = v2.Compose(_training(size, scale, operations, magnitude, erase))

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


def _training(
    size: int, scale: Sequence[float], operations: int, magnitude: int, erase: float
) -> list[Callable[..., object]]:
    fill = [round(255 * float(channel)) for channel in MEAN]
    augment = v2.RandAugment(operations, magnitude, MAGNITUDES, InterpolationMode.BILINEAR, fill=fill)
    return [
        v2.RandomResizedCrop(size, tuple(scale), interpolation=InterpolationMode.BICUBIC),
        v2.RandomHorizontalFlip(),
        *([augment] if operations else []),
        *_to_tensor(),
        v2.RandomErasing(erase, value="random"),
    ]


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
