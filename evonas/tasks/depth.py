"""Monocular depth: metres from one image.

Legend: B batch, H W space. Outputs are B 1 H W in metres; so is `depth` in a batch,
beside the mask `valid` of the same shape.
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
    known,
    silog,
    silog_to_answer,
)

# what the constant baseline looks at: enough for three digits, little enough for any memory
SAMPLED_IMAGES, SAMPLED_PIXELS = 512, 8192


class Depth:
    """Learns by the scale-invariant logarithmic loss; judged by the absolute relative error.

    Args:
        data: a source whose items hold `depth` and `valid`.
        head: makes the head from `(levels, out_channels=, output=, scale=)`.
        max_depth: metres; the largest depth that is predicted and scored.
        name: what follows `+task=`.
        crop: part of the image that is scored: none, garg, eigen or nyu.
        flip_test: score the blend of what is seen in the image and in its mirror image.
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
            raise UserError(
                f"task.max_depth={max_depth} leaves nothing to predict.", "Try task.max_depth=20."
            )
        self.name, self.max_depth, self.crop = name, float(max_depth), crop
        self.flip_test = flip_test
        self.input_size = data.size
        self._data, self._head = data, head

    def dataset(self, split: Split) -> Images:
        """A split of the data."""
        return self._data.dataset(split)

    def head(self, levels: Sequence[Level]) -> nn.Module:
        """A head that ends in max_depth * sigmoid."""
        return self._head(levels, out_channels=1, output="sigmoid", scale=self.max_depth)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """SILog against the measured depth, also where it lies beyond max_depth, as published."""
        return silog(output, batch["depth"], known(batch))

    def distillation_loss(self, output: Tensor, teacher_output: Tensor, batch: Batch) -> Tensor:
        """SILog against the teacher's depth, also where none was measured; mild within its error."""
        target = teacher_output.detach()
        return silog_to_answer(output, target, target > MIN_DEPTH, doubt(target, batch))

    def predict(self, net: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """What is scored: one look at each image, or with `flip_test` two, blended."""
        depth = net(images)
        return blend(depth, net(images.flip(-1)).flip(-1)) if self.flip_test else depth

    def meter(self) -> DepthMeter:
        """An empty meter of the nine metrics."""
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
        """Image, truth and prediction on one scale of colours, from near to max_depth."""
        from evonas.tasks.palette import depth_picture

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
        """Minimises the mean over images of mean |c - t| / t: a median of t weighted by 1 / (t n).

        Large data sets are sampled evenly: SAMPLED_IMAGES images, about SAMPLED_PIXELS of each.
        """
        train = self.dataset("train")
        train.augment = False
        depths, weights = [], []
        for index in evenly(len(train), SAMPLED_IMAGES):
            item = train[index]
            depth = item["depth"][self._scored(item)].double().numpy()
            depth = depth[:: max(len(depth) // SAMPLED_PIXELS, 1)]
            depths.append(depth)
            weights.append(1 / (depth * max(len(depth), 1)))
        depth, weight = np.concatenate(depths), np.concatenate(weights)
        if not len(depth):
            raise UserError("No training image has a known depth.", "Check task.max_depth and the data.")
        order = np.argsort(depth)
        cumulative = np.cumsum(weight[order])
        return float(depth[order][np.searchsorted(cumulative, cumulative[-1] / 2)])


def evenly(length: int, at_most: int) -> list[int]:
    """At most so many of the indices below `length`, evenly spaced."""
    return np.unique(np.linspace(0, length - 1, min(length, at_most)).round().astype(int)).tolist()
