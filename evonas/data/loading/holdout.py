"""The images that guide every choice: decoded in batches, whole or a part that stands for the whole.

Legend: B batch.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.data import default_collate

from evonas.data.base import Images
from evonas.errors import UserError
from evonas.randomness import generator

# names the order, so that facts of another order can never be taken for these
ORDER = "holdout/1"

Batches = Sequence[Mapping[str, Tensor]]


def decoded(images: Images, batch_size: int) -> Iterator[dict[str, Tensor]]:
    """The whole split in its own order, batch by batch; the last may be smaller."""
    for part in _cut(range(len(images)), batch_size):
        yield default_collate([images[index] for index in part])


def order(size: int) -> list[int]:
    """Positions of a split of `size` images, mixed: the same on every call, whatever the run's seed.

    A split may lie grouped by drive or by class, so its first images do not stand for it; these do.
    """
    return generator(0, ORDER).permutation(size).tolist()


def first(batches: Batches, number: int, batch_size: int) -> Iterator[dict[str, Tensor]]:
    """The first `number` images in `order`, batch by batch, copied from batches of the whole split.

    The images of n are the first of those of n + 1; beyond the size of the split there are no more.

    Args:
        batches: the whole split as `decoded` cut it, on any device.
        number: how many images.
        batch_size: of the batches given, and of those made.

    Raises:
        UserError: for less than one image.
    """
    if number < 1:
        raise UserError(f"Nothing can be measured on {number} images.", "Use one image at least.")
    size = sum(len(batch["image"]) for batch in batches)
    for part in _cut(order(size)[:number], batch_size):
        items = [(batches[index // batch_size], index % batch_size) for index in part]
        yield {key: torch.stack([batch[key][row] for batch, row in items]) for key in items[0][0]}


def _cut(positions: Sequence[int], batch_size: int) -> list[Sequence[int]]:
    return [positions[start : start + batch_size] for start in range(0, len(positions), batch_size)]
