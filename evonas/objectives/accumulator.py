"""Metric accumulator of one subnet over the batches of a data split."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from evonas.errors import InfeasibleError, UserError
from evonas.tasks.base import Batch, Task, is_finite


class MetricAccumulator:
    """Accumulates the metrics of a subnet, and optionally its error per data piece.

    A piece is one image if the task's error is a mean over images (`error_is_mean`), else one batch. A piece without
    ground truth has no error and is omitted for every subnet, so the errors of two subnets on equal images are
    paired.

    Args:
        task: defines the metrics.
        by_pieces: whether to keep the error of each piece.
    """

    def __init__(self, task: Task, by_pieces: bool = False) -> None:
        self._task, self._by_pieces = task, by_pieces
        self._meter = task.meter()
        self._errors: list[float] = []
        self._sizes: list[int] = []

    def add(self, output: Tensor, batch: Batch) -> None:
        """Adds the outputs on a batch.

        Raises:
            ValueError: the output is not finite.
        """
        if not is_finite(output):
            raise InfeasibleError("the subnet's output is not finite")
        output = output.float()
        self._meter.update(output, batch)
        if self._by_pieces:
            step = 1 if getattr(self._task, "error_is_mean", False) else len(output)
            for start in range(0, len(output), step):
                rows = slice(start, start + step)
                self._add_piece(output[rows], {key: value[rows] for key, value in batch.items()})

    def result(self) -> tuple[float, Mapping[str, Any]]:
        """The error and, as JSON data, `metrics`; with pieces also `errors` and `error_sizes` (images per piece).

        Raises:
            ValueError: the error is not finite.
        """
        metrics = {name: float(value) for name, value in self._meter.compute().items()}
        value = metrics[self._task.error_name]
        if not math.isfinite(value):
            raise InfeasibleError(f"{self._task.error_name} is {value} on the validation split")
        # a secondary metric without a value (a class that never occurs) is dropped
        facts: dict[str, Any] = {
            "metrics": {key: each for key, each in metrics.items() if math.isfinite(each)}
        }
        if self._by_pieces:
            facts |= {"errors": self._errors, "error_sizes": self._sizes}
        return value, facts

    def _add_piece(self, output: Tensor, batch: Batch) -> None:
        meter = self._task.meter()
        meter.update(output, batch)
        try:
            error = float(meter.compute()[self._task.error_name])
        except UserError:
            # a single image may have no ground truth, for which meters raise an error
            return
        self._errors.append(error)
        self._sizes.append(len(output))
