"""What a task is: data, a head, a loss, a way to score and a way to show.

Legend: B batch, C channels, H W space.

The contract. A task owns no weights and no training loop, and reads no file before an
item of a dataset is asked for. `dataset` is cheap to call again and deterministic: item
`i` of a split is the same on every call, apart from `train`, whose augmentation follows
`dataset.set_epoch` and can be switched off by `dataset.augment = False` (see
`evonas/data/base.py`). Splits are disjoint: `train` fits weights, `holdout` guides every
choice (checkpoints, search, selection), `test` is read by `stage=evaluate` alone. A
batch is a dict of tensors that holds at least `image` (float, B 3 H W, normalised).
Heads map the backbone's levels to the raw output that `loss`, `Meter.update` and
`pictures` understand: a Tensor whose first dimension is B. While it is trained a head may give
something else, which only the losses see (`evonas/nn/detection/base.py`). `head` may
read what names the classes, nothing larger. Metrics are plain floats; `error_name` names the one that is
minimised, and it must be among them; a task says `error_is_mean = True` where it is a mean
over images. `baseline` names a predictor that looks at no image and gives its metrics on
`test`. `pictures` gives, for each image of a batch, uint8 H W 3
arrays named image, truth and prediction.
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
    """Accumulates a metric over batches; order and batch size do not matter beyond rounding."""

    def update(self, output: Tensor, batch: Batch) -> None: ...

    def compute(self) -> dict[str, float]: ...


@runtime_checkable
class Task(Protocol):
    """One dense-vision problem; `input_size` is the height and width that costs are counted at."""

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
    """A task whose head can be made with other keywords than the configured ones."""

    def head_with(self, levels: Sequence[Level], settings: Mapping[str, Any]) -> nn.Module: ...


def predict(task: Task, net: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The output that is scored: task.predict(net, images) where the task has that method, else net(images).

    A task defines it to look at an image more than once, as a flip test does; training never uses it.
    """
    own = getattr(task, "predict", None)
    return net(images) if own is None else own(net, images)


def best_of(metrics: Mapping[str, float], task: Task) -> float:
    """The number to minimise."""
    return float(metrics[task.error_name])


__all__ = ["Batch", "Images", "Meter", "Picture", "SettableHead", "Split", "Task", "best_of", "predict"]
