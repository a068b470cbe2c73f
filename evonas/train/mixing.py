"""Mixup and cutmix within a batch of labelled images, drawn once for the batch or anew for each of its networks.

The draw is a function of (seed, purpose, step). Legend: B batch, H W space.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2

from evonas.data.classification.augment import drawn
from evonas.errors import UserError
from evonas.randomness import derive
from evonas.tasks.base import Batch

EACH = ("subnet", "batch")


@dataclass(frozen=True, slots=True)
class Mixing:
    """How the images of a batch are mixed.

    Args:
        mixup: parameter of the beta distribution of mixup's shares (arXiv 1710.09412); 0 for none.
        cutmix: likewise of cutmix's (arXiv 1905.04899). With both, one of them is drawn for each mix.
        each: `subnet` draws anew for each network that learns from the batch, `batch` once for all of them.

    Raises:
        UserError: a parameter is negative, or `each` is unknown.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    each: str = "subnet"

    def __post_init__(self) -> None:
        if not (self.mixup >= 0 and self.cutmix >= 0):
            raise UserError(
                f"train.*.mixup and train.*.cutmix must not be negative, got {self.mixup} and {self.cutmix}.",
                "Try train.supernet.mixup=0.8.",
            )
        if self.each not in EACH:
            raise UserError(f"train.*.mix_each={self.each} is unknown.", f"Known: {', '.join(EACH)}")

    @property
    def is_on(self) -> bool:
        """Whether anything is mixed."""
        return bool(self.mixup or self.cutmix)

    def views(self, batch: Batch, count: int, seed: int, step: int, rank: int = 0) -> list[Batch]:
        """The batch as each network sees it; networks with one draw share one object.

        Args:
            batch: `image` B 3 H W and `label` B, not mixed yet.
            count: number of networks.
            seed: of the training.
            step: optimizer step.
            rank: of the process, whose images are its own.

        Raises:
            UserError: the batch has no labels, or is mixed already.
        """
        if not self.is_on:
            return [batch] * count
        if "label" not in batch or batch["label"].ndim != 1:
            raise UserError(
                "train.*.mixup mixes images with one label, and this task's have none.",
                "Leave train.*.mixup and train.*.cutmix at 0.",
            )
        if "share" in batch:
            raise UserError(
                "The images are mixed already, by data.views.", "Use data.views.mixup=0 data.views.cutmix=0."
            )
        if self.each == "batch":
            return [self._mixed(batch, derive(seed, f"mix/rank{rank}", step))] * count
        return [self._mixed(batch, derive(seed, f"mix/{index}/rank{rank}", step)) for index in range(count)]

    def _mixed(self, batch: Batch, seed: int) -> Mapping[str, Tensor]:
        """The batch with every image mixed with another one; adds `partner` and `share`."""
        images, label = batch["image"], batch["label"]
        kinds = [(v2.MixUp, self.mixup), (v2.CutMix, self.cutmix)]
        with drawn(seed):
            order = torch.randperm(len(images)).to(images.device)
            makers = [(maker, alpha) for maker, alpha in kinds if alpha]
            maker, alpha = makers[int(torch.randint(len(makers), ()))]
            numbers = torch.arange(len(images), device=images.device)
            mixed, shares = maker(alpha=alpha, num_classes=len(images))(images[order], numbers)
        # the mixer rolls its batch by one, and a row of its labels is the share of each image
        back = order.argsort()
        return {
            **batch,
            "image": mixed[back],
            "partner": label[order.roll(1)[back]],
            "share": shares.diagonal()[back],
        }


NO_MIXING = Mixing()
