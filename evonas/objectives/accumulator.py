"""The tally of one subnet: what it has scored over the batches of a pass."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from evonas.errors import UserError
from evonas.tasks.base import Batch, Task


class MetricAccumulator:
    """Metrics of one subnet over all batches, and if wanted its error on each piece of the data.

    A piece is one image where the task's error is a mean over images (`error_is_mean`), else one batch,
    scored by a meter of its own. A piece without truth has no error and is left out, the same one for
    every subnet, so that the errors of two subnets on equal images belong together one by one.

    Args:
        task: says what is scored.
        by_pieces: whether to keep the error on each piece.
    """

    def __init__(self, task: Task, by_pieces: bool = False) -> None:
        self._task, self._by_pieces = task, by_pieces
        self._meter = task.meter()
        self._errors: list[float] = []
        self._sizes: list[int] = []

    def add(self, output: Tensor, batch: Batch) -> None:
        """Score one batch.

        Raises:
            ValueError: the output is not finite.
        """
        # a meter may clamp, and so turn a network that has diverged into a merely bad one
        if not _is_finite(output):
            raise ValueError("the subnet's output is not finite")
        output = output.float()
        self._meter.update(output, batch)
        if self._by_pieces:
            for part in self._pieces(output, batch):
                self._note(*part)

    def result(self) -> tuple[float, Mapping[str, Any]]:
        """The error, and as plain data all `metrics`, and with pieces `errors` and `error_sizes` in images.

        Raises:
            ValueError: the error is not finite.
        """
        metrics = {name: float(value) for name, value in self._meter.compute().items()}
        value = metrics[self._task.error_name]
        if not math.isfinite(value):
            raise ValueError(f"{self._task.error_name} is {value} on the holdout split")
        # a side metric without a value (a class that never occurs) must not fail the point
        facts: dict[str, Any] = {
            "metrics": {key: each for key, each in metrics.items() if math.isfinite(each)}
        }
        if self._by_pieces:
            facts |= {"errors": self._errors, "error_sizes": self._sizes}
        return value, facts

    def _pieces(self, output: Tensor, batch: Batch) -> Iterator[tuple[Tensor, Batch]]:
        step = 1 if getattr(self._task, "error_is_mean", False) else len(output)
        for start in range(0, len(output), step):
            rows = slice(start, start + step)
            yield output[rows], {key: value[rows] for key, value in batch.items()}

    def _note(self, output: Tensor, batch: Batch) -> None:
        meter = self._task.meter()
        meter.update(output, batch)
        try:
            error = float(meter.compute()[self._task.error_name])
        except UserError:
            # meters refuse to speak of no truth at all, which for a single image is no mistake
            return
        self._errors.append(error)
        self._sizes.append(len(output))


def _is_finite(output: Tensor) -> bool:
    # the extremes of numbers with a NaN among them are NaN; looking at each one takes four times as long
    return bool(torch.isfinite(torch.stack(torch.aminmax(output))).all()) if output.numel() else True
