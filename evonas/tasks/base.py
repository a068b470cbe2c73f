"""What a task is: data, a head, a loss, a way to score and a way to show.

Legend: B batch, C channels, H W space.

The contract. A task owns no weights and no training loop. `dataset` is cheap to
call again and deterministic: item `i` of a split is the same on every call, apart
from `train`, whose augmentation draws from the generator given to the dataset (see
`evonas/train/determinism.py`). Splits are disjoint: `train` fits weights, `holdout`
guides every choice (checkpoints, search, selection), `test` is read by
`stage=evaluate` alone. A batch is a dict of tensors that holds at least
`image` (float, B 3 H W, normalised). Heads map the backbone's levels to the raw
output that `loss`, `Meter.update` and `pictures` understand. Metrics are plain
floats; `error_name` names the one that is minimised, and it must be among them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from evonas.nn.level import Level

Split = Literal["train", "holdout", "test"]
Batch = Mapping[str, Tensor]


@runtime_checkable
class Meter(Protocol):
    """Accumulates a metric over batches; order and batch size do not matter beyond rounding."""

    def update(self, output: Tensor, batch: Batch) -> None: ...

    def compute(self) -> dict[str, float]: ...


@runtime_checkable
class Task(Protocol):
    """One dense-vision problem."""

    name: str
    error_name: str
    input_size: tuple[int, int]

    def dataset(self, split: Split) -> Dataset[dict[str, Tensor]]: ...

    def head(self, levels: Sequence[Level]) -> nn.Module: ...

    def loss(self, output: Tensor, batch: Batch) -> Tensor: ...

    def distillation_loss(self, output: Tensor, teacher_output: Tensor, batch: Batch) -> Tensor: ...

    def meter(self) -> Meter: ...

    def baseline(self) -> tuple[str, Any]: ...

    def pictures(self, output: Tensor, batch: Batch) -> list[dict[str, np.ndarray]]: ...


def best_of(metrics: Mapping[str, float], task: Task) -> float:
    """The number to minimise."""
    return float(metrics[task.error_name])


__all__ = ["Batch", "Meter", "Split", "Task", "best_of", "torch"]
