"""Base class of backbones, which run step by step.

Legend: B batch, C channels, H W space.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.level import Level
from evonas.supernets.step import Size, Step


@dataclass(frozen=True, slots=True)
class Activation:
    """State between two steps: the map that the next step reads, and the levels so far, finest first."""

    map: Tensor
    levels: tuple[Tensor, ...] = ()


def sides(images: Tensor) -> Size:
    """Height and width in pixels, as plain numbers also while torch traces, which makes tensors of sizes."""
    height, width = images.shape[-2:]
    return (int(height), int(width)) if torch.jit.is_tracing() else (height, width)


def unchanged(size: Size) -> Size:
    """The input size of a network that does not resize images."""
    return size


class Backbone(nn.Module):
    """The backbone of one genotype; `backbone(images)` returns one map per level.

    The subclass of a family defines the modules and the methods `parts` and `run`. Modules have the names that they
    have in the supernet, so a state dict is a part of the supernet's.

    Args:
        path: the steps in order.
        levels: levels of the output, finest first.
        describe: returns the JSON data from which `families.restore` rebuilds the backbone.
        input_size: maps the size of images to the size at which the network reads them.
    """

    def __init__(
        self,
        path: Sequence[Step],
        levels: Sequence[Level],
        describe: Callable[[], dict[str, Any]],
        input_size: Callable[[Size], Size] = unchanged,
    ) -> None:
        super().__init__()
        self.path, self.levels = tuple(path), tuple(levels)
        self.describe, self.input_size = describe, input_size

    def begin(self, images: Float[Tensor, "B 3 H W"]) -> Activation:
        """The input of the first step: the images, resized to the network's input size."""
        height, width = sides(images)
        wanted = self.input_size((height, width))
        if wanted != (height, width):
            images = F.interpolate(images, wanted, mode="bilinear", align_corners=False, antialias=True)
        return Activation(images)

    def parts(self, index: int) -> tuple[nn.Module, ...]:
        """The modules that a step runs; they contain all norms of the step."""
        raise NotImplementedError

    def run(self, index: int, at: Activation) -> Activation:
        """Runs the step `index` of the path."""
        raise NotImplementedError

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Maps B C h/s w/s, one per level of stride s, with sizes rounded up; h w is the network's input size."""
        at = self.begin(images)
        for index in range(len(self.path)):
            at = self.run(index, at)
        return list(at.levels)
