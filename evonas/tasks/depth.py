"""Monocular depth estimation.

Legend: B batch, H W space. Outputs are B 1 H W in metres; a batch contains `depth` of the same shape in metres, and
its mask `valid`.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from evonas.data.augment import denormalise
from evonas.data.base import Images, Source, Split
from evonas.errors import UserError
from evonas.nn.level import Level
from evonas.tasks.base import Batch, Picture
from evonas.tasks.depth_metrics import (
    MIN_DEPTH,
    Crop,
    DepthMeter,
    blend,
    doubt,
    inside_crop,
    known,
    silog,
    silog_to_answer,
)

# sample of the training split for the constant baseline, enough for three digits
SAMPLED_IMAGES, SAMPLED_PIXELS = 512, 8192


class Depth:
    """Depth estimation with the scale-invariant logarithmic loss; the error is the absolute relative error.

    Args:
        data: a source whose items contain `depth` and `valid`.
        head: constructor of the head, called with `(levels, out_channels=, output=, scale=)`.
        max_depth: maximum predicted and evaluated depth in metres.
        name: name of the task, as in `+task=`.
        crop: evaluated part of the image: none, garg, eigen or nyu.
        flip_test: whether predictions of the image and its mirror image are blended in evaluation.

    Raises:
        UserError: max_depth or crop is invalid.
    """

    error_name = "abs_rel"
    error_is_mean = True

    def __init__(
        self,
        data: Source,
        head: Callable[..., nn.Module],
        max_depth: float,
        name: str,
        crop: Crop = "none",
        flip_test: bool = False,
    ) -> None:
        if max_depth <= MIN_DEPTH:
            raise UserError(f"task.max_depth={max_depth} is too small.", "Try task.max_depth=20.")
        self.name, self.max_depth, self.crop = name, float(max_depth), crop
        self.flip_test = flip_test
        self.input_size = data.size
        self._data, self._head = data, head

    def dataset(self, split: Split) -> Images:
        """A split of the data."""
        return self._data.dataset(split)

    def head(self, levels: Sequence[Level]) -> nn.Module:
        """A head with output max_depth * sigmoid."""
        return self._head(levels, out_channels=1, output="sigmoid", scale=self.max_depth)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """SILog loss against measured depth, including depth beyond max_depth, as in EvoNAS's code."""
        return silog(output, batch["depth"], known(batch))

    def distillation_loss(self, output: Tensor, teacher_output: Tensor, batch: Batch) -> Tensor:
        """Depth distillation: SILog against the teacher's depth at all pixels.

        It down-weights teacher targets where the student's error is already below the teacher's.
        """
        target = teacher_output.detach()
        return silog_to_answer(output, target, target > MIN_DEPTH, doubt(target, batch))

    def predict(self, net: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """The evaluated prediction; with `flip_test` the blend of the image's and its mirror image's."""
        depth = net(images)
        return blend(depth, net(images.flip(-1)).flip(-1)) if self.flip_test else depth

    def meter(self) -> DepthMeter:
        """A new meter of the nine metrics."""
        return DepthMeter(self.max_depth, self.crop)

    def baseline(self) -> tuple[str, dict[str, float]]:
        """The best constant: the depth that minimises abs_rel on `train`, scored on `test`."""
        constant = self._best_constant()
        meter = self.meter()
        test = self.dataset("test")
        for index in range(len(test)):
            batch = {key: value[None] for key, value in test[index].items()}
            meter.update(torch.full_like(batch["depth"], constant), batch)
        return f"constant depth {constant:.1f} m", meter.compute()

    def pictures(self, output: Tensor, batch: Batch) -> list[dict[str, Picture]]:
        """Image, ground truth and prediction, with a common colour scale up to max_depth."""
        from evonas.tasks.drawing import depth_picture

        images = denormalise(batch["image"])
        predictions = output.detach().float().cpu().numpy()[:, 0]
        truths, valid = batch["depth"].cpu().numpy()[:, 0], self._scored(batch).cpu().numpy()[:, 0]
        return [
            {
                "image": image,
                "truth": depth_picture(truth, self.max_depth, mask),
                "prediction": depth_picture(prediction, self.max_depth),
            }
            for image, truth, mask, prediction in zip(images, truths, valid, predictions, strict=True)
        ]

    def _scored(self, batch: Batch) -> Tensor:
        depth = batch["depth"]
        return batch["valid"] & (depth > MIN_DEPTH) & (depth < self.max_depth)

    def _best_constant(self) -> float:
        """Minimises the mean over images of mean |c - t| / t in the crop: the median of t weighted by 1 / (t n).

        Large data sets are sampled evenly: SAMPLED_IMAGES images with about SAMPLED_PIXELS pixels each.
        """
        train = self.dataset("train")
        train.augment = False
        depths, weights = [], []
        for index in evenly(len(train), SAMPLED_IMAGES):
            item = train[index]
            depth = item["depth"][inside_crop(self._scored(item), self.crop)].double().numpy()
            depth = depth[:: max(len(depth) // SAMPLED_PIXELS, 1)]
            depths.append(depth)
            weights.append(1 / (depth * max(len(depth), 1)))
        depth, weight = np.concatenate(depths), np.concatenate(weights)
        if not len(depth):
            raise UserError("No training image has valid depth.", "Check task.max_depth and the data.")
        order = np.argsort(depth)
        cumulative = np.cumsum(weight[order])
        return float(depth[order][np.searchsorted(cumulative, cumulative[-1] / 2)])


def evenly(length: int, at_most: int) -> list[int]:
    """At most `at_most` evenly spaced indices below `length`."""
    return np.unique(np.linspace(0, length - 1, min(length, at_most)).round().astype(int)).tolist()
