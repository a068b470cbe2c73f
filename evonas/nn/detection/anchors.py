"""Anchors of region proposal networks.

Legend: A anchors at a position, H W space.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def anchors(
    maps: Sequence[Tensor], strides: Sequence[int], scale: float, ratios: Sequence[float]
) -> list[Float[Tensor, "positions 4"]]:
    """The anchors of each map, ordered by row, column and ratio (arXiv 1506.01497).

    Anchors are float32 whatever the precision of the maps.

    Args:
        maps: B C H W each; only sizes and device are used.
        strides: strides of the maps, in pixels of the input.
        scale: side of a square anchor in strides.
        ratios: height / width of anchors of equal area.
    """
    found = []
    for features, stride in zip(maps, strides, strict=True):
        side = scale * stride
        halves = [(side / ratio**0.5 / 2, side * ratio**0.5 / 2) for ratio in ratios]
        # anchors centred at the origin, then shifted to every position
        boxes = [[-wide, -high, wide, high] for wide, high in halves]
        height, width = features.shape[-2:]
        options: dict[str, Any] = {"dtype": torch.float32, "device": features.device}
        y, x = torch.meshgrid(
            torch.arange(height, **options) * stride, torch.arange(width, **options) * stride, indexing="ij"
        )
        shifts = torch.stack((x, y, x, y), dim=-1).reshape(-1, 1, 4)
        found.append((shifts + torch.tensor(boxes, **options)).reshape(-1, 4))
    return found
