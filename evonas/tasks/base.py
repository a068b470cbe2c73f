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
`error_is_mean = True` states that it is a mean over images. `baseline` returns the name of a predictor that uses no
image, and its metrics on `test`. `pictures` returns for each image of a batch uint8 arrays H W 3 named image, truth
and prediction.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
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


__all__ = ["Batch", "Images", "Meter", "Picture", "SettableHead", "Split", "Task", "best_of", "predict"]
