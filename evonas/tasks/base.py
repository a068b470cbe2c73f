"""Contract of tasks: data, head, loss, metrics and visualisation.

Legend: B batch, C channels, H W space.

A task has no weights and no training loop, and reads no file before an item of a dataset is accessed. `dataset` is
cheap and deterministic: item `i` of a split is the same on every call, except on `train`, whose augmentation depends on
`dataset.set_epoch` and is disabled by `dataset.augment = False` (see `evonas/data/base.py`). Splits are disjoint:
`train` fits weights, `holdout` guides all decisions (checkpoints, search, selection), and only `stage=evaluate` reads
`test`. A batch is a dict of tensors that contains at least `image` (float, B 3 H W, normalised).

Heads map the backbone's levels to the output that `loss`, `Meter.update` and `pictures` take: a Tensor whose first
dimension is B. In training mode a head may return another object for the losses (`evonas/nn/detection/base.py`). `head`
may read class names, but no images. Metrics are floats and contain `error_name`, the minimised one;
`error_is_mean = True` states that it is a mean over images. A network with an output that is not finite has no score:
all its metrics are NaN (`FiniteMeter`), on every split. `baseline` returns the name of a predictor that uses no
image, and its metrics on `test`. `pictures` returns for each image of a batch uint8 arrays H W 3 named image, truth
and prediction.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evonas.data.base import Images, Split
from evonas.nn.level import Level

Batch = Mapping[str, Tensor]
Picture = NDArray[np.uint8]


@runtime_checkable
class Meter(Protocol):
    """Accumulates metrics over batches, independent of their order and size up to rounding."""

    def update(self, output: Tensor, batch: Batch) -> None: ...

    def compute(self) -> dict[str, float]: ...


class FiniteMeter(ABC):
    """Base of meters: a network has no score once one of its outputs is not finite.

    Metrics clamp, count classes by the largest logit, or compare with a threshold, so that a diverged network would
    have finite ones: NaN logits are class 0, and NaN depths lie at the bound. All metrics of such a network are NaN.
    """

    _is_finite = True

    def update(self, output: Tensor, batch: Batch) -> None:
        """Adds a batch of outputs, on any device."""
        output = output.detach()
        if not is_finite(output):
            self._is_finite, output = False, output.nan_to_num(0.0, 0.0, 0.0)
        self._add(output, batch)

    def compute(self) -> dict[str, float]:
        """The metrics of `_metrics`, or NaN for each.

        Raises:
            UserError: the split has no ground truth.
        """
        found = self._metrics()
        return found if self._is_finite else dict.fromkeys(found, math.nan)

    @abstractmethod
    def _add(self, output: Tensor, batch: Batch) -> None:
        """Adds a batch of finite outputs."""

    @abstractmethod
    def _metrics(self) -> dict[str, float]:
        """The metrics by name, of all batches."""


def is_finite(output: Tensor) -> bool:
    """Whether all elements are finite."""
    # aminmax propagates NaN and is four times as fast as isfinite on all elements
    return not output.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(output))).all())


@runtime_checkable
class Task(Protocol):
    """A vision task; `input_size` is the height and width of images for cost counting."""

    name: str
    error_name: str
    input_size: tuple[int, int]

    def dataset(self, split: Split) -> Images: ...

    def head(self, levels: Sequence[Level]) -> nn.Module: ...

    def loss(self, output: Any, batch: Batch) -> Tensor: ...

    def distillation_loss(self, output: Any, teacher_output: Any, batch: Batch) -> Tensor: ...

    def meter(self) -> Meter: ...

    def baseline(self) -> tuple[str, dict[str, float]]: ...

    def pictures(self, output: Tensor, batch: Batch) -> list[dict[str, Picture]]: ...


@runtime_checkable
class SettableHead(Protocol):
    """A task whose head can be built with keywords that override its config."""

    def head_with(self, levels: Sequence[Level], settings: Mapping[str, Any]) -> nn.Module: ...


def predict(task: Task, net: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The evaluated output: `task.predict(net, images)` if the task has this method, else `net(images)`.

    A task defines `predict` for test-time augmentation, such as flipping; training does not use it.
    """
    own = getattr(task, "predict", None)
    return net(images) if own is None else own(net, images)


def best_of(metrics: Mapping[str, float], task: Task) -> float:
    """The minimised metric, `metrics[task.error_name]`."""
    return float(metrics[task.error_name])


__all__ = [
    "Batch",
    "FiniteMeter",
    "Images",
    "Meter",
    "Picture",
    "SettableHead",
    "Split",
    "Task",
    "best_of",
    "is_finite",
    "predict",
]
