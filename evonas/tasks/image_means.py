"""A meter for tasks whose every metric is a mean over pixels, averaged over images.

Legend: B batch, H W space.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from evonas.errors import UserError
from evonas.tasks.base import Batch

Terms = Callable[[Tensor, Batch], Mapping[str, Tensor]]


class ImageMeans:
    """Every image weighs the same, however many of its pixels are valid; one without any does not count.

    Args:
        terms: from an output and its batch to the value of each metric in every pixel, B H W or B 1 H W.
        mask: the batch's entry, of the same shape, that says which pixels count.
    """

    def __init__(self, terms: Terms, mask: str = "valid") -> None:
        self._terms, self._mask = terms, mask
        self._rows: dict[str, list[float]] = {}

    def update(self, output: Tensor, batch: Batch) -> None:
        """Score a batch in double precision; an output that is not finite counts as 0."""
        valid = batch[self._mask].flatten(1).to(output.device)
        counts = valid.sum(dim=1)
        finite = output.detach().double().nan_to_num(0.0, 0.0, 0.0)
        for name, term in self._terms(finite, batch).items():
            kept = torch.where(valid, term.flatten(1).double(), 0.0)
            means = kept.sum(dim=1)[counts > 0] / counts[counts > 0]
            self._rows.setdefault(name, []).extend(means.tolist())

    def compute(self) -> dict[str, float]:
        """The averages, summed exactly, so that the order of batches cannot matter.

        Raises:
            UserError: no image had a valid pixel.
        """
        if not any(self._rows.values()):
            raise UserError("No image had a pixel with a truth.", "Check the data.")
        return {name: math.fsum(rows) / len(rows) for name, rows in self._rows.items()}
