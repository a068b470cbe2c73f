"""Metrics of novel view synthesis.

Legend: B batch, T target views, V context views, H W space. Images are in [0, 1].
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from evonas.errors import UserError
from evonas.tasks.base import FiniteMeter

# upper bound of the PSNR, which is infinite for equal images
MOST_DECIBELS = 100.0

Distance = Callable[[Tensor, Tensor], Tensor]


def decibels(rmse: float) -> float:
    """The peak signal-to-noise ratio of images in [0, 1], at most MOST_DECIBELS."""
    return rmse if math.isnan(rmse) else min(-20 * math.log10(max(rmse, 1e-12)), MOST_DECIBELS)


def similarity(prediction: Tensor, truth: Tensor) -> Tensor:
    """SSIM of each image, N 3 H W to N, in windows of 11 pixels (Wang et al. 2004)."""
    found: Tensor = structural_similarity_index_measure(  # type: ignore[assignment]
        prediction, truth, data_range=1.0, reduction="none"
    )
    return found.reshape(len(prediction))


def view_metrics(prediction: Tensor, truth: Tensor, perceptual: Distance | None = None) -> dict[str, float]:
    """Means over the views of one item, T 3 H W each: rmse, psnr, ssim and, with a distance, lpips.

    NaN in a prediction makes them NaN.
    """
    prediction = prediction.detach().float().clamp(0, 1)
    errors = (prediction.double() - truth).square().flatten(1).mean(1).sqrt().tolist()
    found = {
        "rmse": math.fsum(errors) / len(errors),
        "psnr": math.fsum(map(decibels, errors)) / len(errors),
        "ssim": float(similarity(prediction, truth).double().mean()),
    }
    if perceptual is not None:
        found["lpips"] = float(perceptual(prediction, truth).double().mean())
    return found


def depth_error(depths: Tensor, truth: Tensor) -> float | None:
    """Mean of |d - t| / t over pixels with known depth, V H W each; None without any."""
    known = truth > 0
    if not known.any():
        return None
    return float(((depths[known] - truth[known]).abs() / truth[known]).double().mean())


class ViewMeter(FiniteMeter):
    """Averages metrics over the items that have them; a metric that is NaN for one item is NaN.

    Args:
        score: maps an output and its batch to the metrics of each item.
    """

    def __init__(self, score: Callable[[Tensor, Mapping[str, Tensor]], list[dict[str, float]]]) -> None:
        self._score = score
        self._rows: list[dict[str, float]] = []

    def _add(self, output: Tensor, batch: Mapping[str, Tensor]) -> None:
        """Scores a batch of outputs."""
        with torch.no_grad():
            self._rows += self._score(output, batch)

    def _metrics(self) -> dict[str, float]:
        """The averages, summed exactly, so that the order of batches cannot matter."""
        if not self._rows:
            raise UserError("No view was scored.", "Check the data.")
        return averages(self._rows)


def averages(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each metric over the rows that have it."""
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return {name: math.fsum(values) / len(values) for name, values in columns.items()}
