"""A backbone that runs step by step.

Legend: B batch, C channels, H W space.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.level import Level
from evonas.supernets.step import Size, Step


@dataclass(frozen=True, slots=True)
class Activation:
    """How far some images have come: the map that the next step reads, and the levels behind it."""

    map: Tensor
    levels: tuple[Tensor, ...] = ()


def unchanged(size: Size) -> Size:
    """The input size of a network that reads images as they are."""
    return size


class Backbone(nn.Module):
    """One genotype's backbone: `backbone(images)` gives one map per level.

    A family's own class brings the modules, and `parts` and `run` by the index of a step. Modules bear the
    names that they have in the supernet, so that a state dict is a part of the supernet's.

    Args:
        path: the steps, in their order.
        levels: what it yields, finest first.
        describe: makes the plain JSON from which `families.restore` builds it again.
        input_size: the size at which images of a size are read.
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
        """The images as the first step reads them, resized where the network wants another size."""
        height, width = images.shape[-2:]
        wanted = self.input_size((height, width))
        if wanted != (height, width):
            images = F.interpolate(images, wanted, mode="bilinear", align_corners=False, antialias=True)
        return Activation(images)

    def parts(self, index: int) -> tuple[nn.Module, ...]:
        """The modules that a step runs; every norm that it looks through is inside of them."""
        raise NotImplementedError

    def run(self, index: int, at: Activation) -> Activation:
        """One step further."""
        raise NotImplementedError

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Maps B C h/s w/s, one per entry of `levels`, sizes rounded up; h w is the input size."""
        at = self.begin(images)
        for index in range(len(self.path)):
            at = self.run(index, at)
        return list(at.levels)
