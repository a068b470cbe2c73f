"""Training images for statistics: a fixed choice, without augmentation.

Legend: B batch, H W space.
"""

from itertools import pairwise

import torch
from torch import Tensor

from evonas.data.base import Images
from evonas.errors import UserError
from evonas.randomness import generator


def calibration(dataset: Images, number: int, batch_size: int) -> list[Tensor]:
    """`number` images of a data set of one's own, float32 B 3 H W; a function of its items alone.

    The first n of n + 1 images are those of n. No batch has a single image where there are more: a map of one
    pixel would have no variance in it.
    """
    if number < 0:
        raise UserError(f"{number} images cannot be chosen.", "Give 0 for no recalibration.")
    dataset.augment = False
    chosen = generator(0, "calibration").permutation(len(dataset))[:number]
    images = [dataset[int(index)]["image"] for index in chosen]
    size = max(batch_size, 2)
    ends = [*range(size, len(images) - 1, size), len(images)] if images else []
    return [torch.stack(images[start:end]) for start, end in pairwise([0, *ends])]
