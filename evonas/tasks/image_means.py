"""Meter of metrics that are means over pixels, averaged over images.

Legend: B batch, H W space.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from evonas.errors import UserError
from evonas.tasks.base import Batch, FiniteMeter

Terms = Callable[[Tensor, Batch], Mapping[str, Tensor]]


class ImageMeans(FiniteMeter):
    """Averages metrics over images; each image with valid pixels has the same weight.

    Args:
        terms: maps an output and its batch to pixel values of each metric, B H W or B 1 H W.
        mask: key of the batch's mask of valid pixels, of the same shape.
    """

    def __init__(self, terms: Terms, mask: str = "valid") -> None:
        self._terms, self._mask = terms, mask
        self._rows: dict[str, list[float]] = {}

    def _add(self, output: Tensor, batch: Batch) -> None:
        """Adds a batch, in double precision."""
        valid = batch[self._mask].flatten(1).to(output.device)
        counts = valid.sum(dim=1)
        for name, term in self._terms(output.double(), batch).items():
            kept = torch.where(valid, term.flatten(1).double(), 0.0)
            means = kept.sum(dim=1)[counts > 0] / counts[counts > 0]
            self._rows.setdefault(name, []).extend(means.tolist())

    def _metrics(self) -> dict[str, float]:
        """The averages, with exact sums, independent of the order of batches.

        Raises:
            UserError: no image has a valid pixel.
        """
        if not any(self._rows.values()):
            raise UserError("No image of the split has valid pixels.", "Check the data.")
        return {name: math.fsum(rows) / len(rows) for name, rows in self._rows.items()}
