"""Loss, metrics and evaluation crops of monocular depth estimation.

Legend: B batch, H W space. Depths are B 1 H W in metres; masks have the same shape.
Formulas: Eigen et al. 2014 (arXiv 1406.2283), section 4; the loss weights as in section 3.2
with lambda 0.85 and scale 10.
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from evonas.errors import UserError
from evonas.tasks.base import FiniteMeter

METRICS = ("silog", "abs_rel", "log10", "rms", "sq_rel", "log_rms", "d1", "d2", "d3")
MIN_DEPTH = 1e-3
VARIANCE_FOCUS = 0.85
# bounds for logarithms of outputs, and for the square root, whose gradient is infinite at zero
TINY = 1e-6
EPSILON = 1e-10

Crop = Literal["none", "garg", "eigen", "nyu"]
# fractions of height and width; the last row and column are excluded
_FRACTIONS: Mapping[str, tuple[float, float, float, float]] = {
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
}


def silog(prediction: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """10 sqrt(mean d^2 - 0.85 (mean d)^2), d = ln prediction - ln truth, over all valid pixels of a batch.

    The value is at least 1e-4, so that the gradient is finite; it is constant if no pixel is valid.
    """
    return 10 * (log_variance(prediction, truth, valid) + EPSILON).sqrt()


def silog_to_answer(prediction: Tensor, answer: Tensor, weight: Tensor, doubt: Tensor) -> Tensor:
    """SILog distillation loss against a teacher's prediction, down-weighted below the teacher's own error.

    The gradient of a square root has constant length: between subnets with shared weights, which nearly agree, it
    would pull each subnet to the others as strongly as the ground truth pulls. Below the teacher's error the root is
    therefore continued as a parabola, as in the Huber loss. With `doubt` 0 the loss is SILog.

    Args:
        prediction: student's depth.
        answer: teacher's depth.
        weight: weight of each pixel.
        doubt: squared error of the teacher, a `log_variance`.
    """
    variance = log_variance(prediction, answer, weight)
    root, knee = (variance + EPSILON).sqrt(), (doubt.detach() + EPSILON).sqrt()
    return 10 * torch.where(variance > doubt, root - knee / 2, variance / (2 * knee))


def known(batch: Mapping[str, Tensor]) -> Tensor:
    """The mask of pixels with measured depth."""
    return batch["valid"] & (batch["depth"] > MIN_DEPTH)


def doubt(answer: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """The squared error of a teacher's prediction, as a `log_variance`; 0 without measured depth."""
    return log_variance(answer.detach(), batch["depth"], known(batch))


def log_variance(prediction: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """E d^2 - 0.85 (E d)^2 with d = ln prediction - ln truth; E is the mean weighted by `weight` (or a mask)."""
    weight = weight.to(prediction.dtype)
    share = weight / weight.sum().clamp_min(EPSILON)
    safe = torch.where(weight > 0, truth, torch.ones_like(truth)).clamp_min(TINY)
    difference = prediction.clamp_min(TINY).log() - safe.log()
    mean, square = (share * difference).sum(), (share * difference.square()).sum()
    return (square - VARIANCE_FOCUS * mean.square()).clamp_min(0)


def blend(depth: Tensor, mirrored: Tensor) -> Tensor:
    """Blends the predictions of an image and of its mirror image (Godard et al. 2017, arXiv 1609.03677, section 4).

    The result is their mean, except at the left, where the mirrored prediction counts, and at the right, where the
    other one does: with weight 1 within 5 % of the width, and a linear ramp up to 10 %.

    Args:
        depth: B 1 H W.
        mirrored: prediction of the mirror image, flipped back, B 1 H W.
    """
    place = torch.linspace(0, 1, depth.shape[-1], device=depth.device, dtype=depth.dtype)
    left = 1 - (20 * (place - 0.05)).clamp(0, 1)
    right = left.flip(0)
    return left * mirrored + right * depth + (1 - left - right) * (depth + mirrored) / 2


def crop_box(height: int, width: int, crop: Crop) -> tuple[int, int, int, int]:
    """Evaluated rows first:last and columns first:last of a crop.

    Raises:
        UserError: crop is unknown, or is `nyu` and images are not 480x640.
    """
    if crop == "none":
        return 0, height, 0, width
    if crop == "nyu":
        if (height, width) != (480, 640):
            raise UserError(f"The NYU crop is defined for 480x640, not {height}x{width}.", "Use crop: none.")
        return 45, 471, 41, 601
    if crop not in _FRACTIONS:
        raise UserError(f"task.crop={crop} is unknown.", "Choose none, garg, eigen or nyu.")
    top, bottom, left, right = _FRACTIONS[crop]
    return int(top * height), int(bottom * height), int(left * width), int(right * width)


def inside_crop(valid: Tensor, crop: Crop) -> Tensor:
    """The mask restricted to the crop."""
    top, bottom, left, right = crop_box(valid.shape[-2], valid.shape[-1], crop)
    mask = torch.zeros_like(valid)
    mask[..., top:bottom, left:right] = valid[..., top:bottom, left:right]
    return mask


def image_metrics(prediction: Tensor, truth: Tensor, valid: Tensor) -> list[tuple[float, ...]]:
    """The nine metrics of each image, in the order of METRICS, over its valid pixels; silog in %.

    Inputs are positive, B 1 H W. Images without valid pixels are omitted. Computed in double precision.
    """
    counts = [count for count in valid.flatten(1).sum(1).tolist() if count]
    if not counts:
        return []
    # valid pixels are selected once, and sums run over all images at once
    places = valid.flatten().nonzero()[:, 0]
    p, t = (each.flatten().index_select(0, places).double() for each in (prediction, truth))
    pixels = _pixel_terms(p, t)
    means = torch.stack([part.mean(dim=1) for part in pixels.split(counts, dim=1)], dim=1)
    log_ratio, log_square, log_size, relative, square, square_relative, *within = means
    values = (
        100 * (log_square - log_ratio.square()).clamp_min(0).sqrt(),
        relative,
        log_size / math.log(10),
        square.sqrt(),
        square_relative,
        log_square.sqrt(),
        *within,
    )
    return [tuple(row) for row in torch.stack(values, dim=1).tolist()]


def _pixel_terms(p: Tensor, t: Tensor) -> Tensor:
    """The pixel terms whose means are the metrics, 9 x pixels."""
    terms = p.new_empty(9, len(p))
    ratio, square = p / t, (p - t).square()
    log_ratio = torch.log(ratio, out=terms[0])
    torch.square(log_ratio, out=terms[1])
    size = torch.abs(log_ratio, out=terms[2])
    torch.abs(ratio.sub_(1), out=terms[3])
    terms[4] = square
    torch.div(square, t, out=terms[5])
    for power in (1, 2, 3):
        # the larger of both ratios lies below 1.25 to this power
        torch.lt(size, power * math.log(1.25), out=terms[5 + power])
    return terms


class DepthMeter(FiniteMeter):
    """Averages the nine metrics over images with valid pixels.

    Args:
        max_depth: metres; predictions are clamped to [1e-3, max_depth], and ground truth beyond it is ignored.
        crop: evaluated part of the image.
    """

    def __init__(self, max_depth: float, crop: Crop = "none") -> None:
        self.max_depth, self.crop = max_depth, crop
        self._rows: list[tuple[float, ...]] = []

    def _add(self, output: Tensor, batch: Mapping[str, Tensor]) -> None:
        """Adds the predicted depths of a batch."""
        output = output.float().clamp(MIN_DEPTH, self.max_depth)
        truth = batch["depth"]
        valid = batch["valid"] & (truth > MIN_DEPTH) & (truth < self.max_depth)
        self._rows += image_metrics(output, truth, inside_crop(valid, self.crop))

    def _metrics(self) -> dict[str, float]:
        """The averages, with exact sums, independent of the order of batches."""
        if not self._rows:
            raise UserError("No image of the split has valid depth.", "Check task.max_depth and the data.")
        columns = zip(*self._rows, strict=True)
        return {
            name: math.fsum(column) / len(self._rows) for name, column in zip(METRICS, columns, strict=True)
        }
