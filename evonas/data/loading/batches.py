"""Fixed batches of images: the validation split, and training images for BN calibration.

Legend: B batch, H W space.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.data import default_collate

from evonas.data.base import Images
from evonas.errors import UserError
from evonas.randomness import generator

# names the order, so that results of another order are never taken for results of this one
ORDER = "holdout/1"

Batches = Sequence[Mapping[str, Tensor]]


def decoded(images: Images, batch_size: int) -> Iterator[dict[str, Tensor]]:
    """The whole split in order, batch by batch; the last batch may be smaller."""
    for part in _cut(range(len(images)), batch_size):
        yield default_collate([images[index] for index in part])


def order(size: int) -> list[int]:
    """A permutation of the indices of a split, equal on every call and for every seed of a run.

    A split may be sorted by drive or class, so that its first images are not representative; the first of these are.
    """
    return generator(0, ORDER).permutation(size).tolist()


def first(batches: Batches, number: int, batch_size: int) -> Iterator[dict[str, Tensor]]:
    """The first `number` images in `order`, batch by batch, copied from batches of the whole split.

    The images of n are the first of the images of n + 1; there are no more than the split has.

    Args:
        batches: the whole split as returned by `decoded`, on any device.
        number: number of images.
        batch_size: size of the given batches, and of the returned ones.

    Raises:
        UserError: number is below 1.
    """
    if number < 1:
        raise UserError(f"The number of images must be at least 1, got {number}.")
    size = sum(len(batch["image"]) for batch in batches)
    for part in _cut(order(size)[:number], batch_size):
        items = [(batches[index // batch_size], index % batch_size) for index in part]
        yield {key: torch.stack([batch[key][row] for batch, row in items]) for key in items[0][0]}


def calibration(dataset: Images, number: int, batch_size: int) -> list[Tensor]:
    """Images for BN calibration without augmentation, float32 B 3 H W; a function of the items alone.

    The images of n are the first of the images of n + 1. No batch has a single image if there are more: a feature
    map of one pixel would have no variance in it.

    Args:
        dataset: the training split; its augmentation is switched off.
        number: number of images.
        batch_size: size of the batches.

    Raises:
        UserError: number is negative.
    """
    if number < 0:
        raise UserError(f"The number of calibration images must not be negative, got {number}.")
    dataset.augment = False
    chosen = generator(0, "calibration").permutation(len(dataset))[:number]
    images = [dataset[int(index)]["image"] for index in chosen]
    size = max(batch_size, 2)
    ends = [*range(size, len(images) - 1, size), len(images)] if images else []
    return [torch.stack(images[start:end]) for start, end in pairwise([0, *ends])]


def _cut(positions: Sequence[int], batch_size: int) -> list[Sequence[int]]:
    return [positions[start : start + batch_size] for start in range(0, len(positions), batch_size)]
