"""Sorting of a supernet's channels, for families that can: by the losses of its largest subnet, or between steps."""

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from torch import Tensor
from torch.utils.data import DataLoader, Subset

from evonas.space.opening import Opening
from evonas.supernets.supernet import Supernet
from evonas.tasks.base import Batch, Task
from evonas.train.sampling.loss_oracle import side_effect_free

# batches whose losses say how important channels are
_BATCHES = 6


def sort_by_losses(net: Supernet, task: Task, batch_size: int, is_final: bool = False) -> None:
    """Let the family sort channels and heads, in place; the largest subnet's outputs stay.

    Args:
        net: the supernet.
        task: whose first training images are read.
        batch_size: images per batch.
        is_final: whether nothing but the largest subnet was or will be trained (see `ElasticTimm.sort_finally`).
    """
    sort = getattr(net.family, "sort_finally" if is_final else "sort_by_losses", None)
    if sort is None:
        return
    dataset = cast(Any, task.dataset("train"))
    images = Subset(dataset, range(min(len(dataset), _BATCHES * batch_size)))
    largest, device = net.space.largest(), next(net.parameters()).device

    def loss(batch: Batch) -> Tensor:
        placed = {name: value.to(device) for name, value in batch.items()}
        return task.loss(net(placed["image"], largest), placed)

    with side_effect_free(net):
        sort(net, (partial(loss, batch) for batch in DataLoader(images, batch_size)))
    net.zero_grad()


def sort_before_step(net: Supernet, trained: Sequence[Opening], opened: Opening) -> None:
    """Let the family sort channels before a curriculum step, in place; subnets that were trained stay what they are.

    Args:
        net: the supernet.
        trained: what the steps before it opened.
        opened: what the step opens.
    """
    sort = getattr(net.family, "sort_before_step", None)
    if sort is not None:
        sort(net, trained, opened)
