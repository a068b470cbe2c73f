"""EvoNAS's depth decoder as a head for any backbone whose levels double in stride.

Legend: B batch, C channels, H W space.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.initialise import uninitialised
from evonas.nn.level import Level
from evonas.nn.sasf import SASF
from evonas.nn.strip_pooling import StripPooling

_OUTPUTS = ("linear", "sigmoid")


class SASFDecoder(nn.Module):
    """Strip pooling on the coarsest map, then an SASF block, skip connection and pixel shuffle per level.

    It predicts at the finest level and interpolates to the input's size. 13 508 173 parameters for
    levels of 64, 128, 256 and 512 channels (EvoNAS, arXiv 2603.19563; layout of its published code).

    Args:
        levels: levels of the backbone, finest first; each has twice the stride of the one before.
        out_channels: channels of the output.
        pool_sizes: cells per side of the pooled grids, of each of two consecutive poolings.
        mlp_ratio: hidden width of the blocks' MLPs divided by their width.
        output: `sigmoid` bounds the output to (0, scale), `linear` does not.
        scale: factor of the output, in the unit of the task (for depth: the maximum in m).
        bn_momentum: momentum of the batch norms in the poolings.
        seed: seed of the random weights.

    Raises:
        UserError: output is unknown, strides do not double, or the coarsest channels do not divide by 4.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        out_channels: int,
        pool_sizes: Sequence[int] = (20, 12),
        mlp_ratio: float = 4.0,
        output: str = "linear",
        scale: float = 1.0,
        bn_momentum: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if output not in _OUTPUTS:
            raise UserError(f"head.output={output} is unknown.", "Choose output=linear or output=sigmoid.")
        strides, last = [level.stride for level in levels], levels[-1].channels
        if any(2 * fine != coarse for fine, coarse in pairwise(strides)):
            raise UserError(
                f"The head SASFDecoder needs levels that double in stride, not {strides}.", "Use head=light."
            )
        if last % 4:
            raise UserError(
                f"The head SASFDecoder needs a last level whose channels divide by 4, not {last}.",
                "Change network.dims or use head=light.",
            )
        self.output, self.scale = output, scale
        self.pool_sizes, self.mlp_ratio, self.bn_momentum = tuple(pool_sizes), mlp_ratio, bn_momentum
        self.stride, self.multiple = levels[0].stride, levels[-1].stride
        channels = [level.channels for level in levels]
        with uninitialised(self, seed):
            self.pools = nn.Sequential(
                *(StripPooling(channels[-1], pool_sizes, bn_momentum) for _ in range(2))
            )
            self.blocks = nn.ModuleList(SASF(dim, mlp_ratio=mlp_ratio) for dim in channels)
            finer = [channels[0], *(4 * dim for dim in channels[:-1])]
            self.leaves = nn.ModuleList(
                nn.Conv2d(dim, out, 3, padding=1) for dim, out in zip(channels, finer, strict=True)
            )
            self.predict = nn.Conv2d(channels[0], out_channels, 3, padding=1)

    @property
    def settings(self) -> dict[str, Any]:
        """Constructor keywords except `levels` and `seed`, as JSON data."""
        return {
            "out_channels": self.predict.out_channels,
            "pool_sizes": list(self.pool_sizes),
            "mlp_ratio": self.mlp_ratio,
            "output": self.output,
            "scale": self.scale,
            "bn_momentum": self.bn_momentum,
        }

    def forward(self, levels: list[Tensor]) -> Float[Tensor, "B C_out H W"]:
        """The prediction from maps, finest first, each twice as high and wide as the next.

        Raises:
            UserError: sizes do not halve, since the image's sides are not multiples of the coarsest stride.
        """
        self._check_sizes(levels)
        x = self.pools(levels[-1])
        for index in reversed(range(len(levels))):
            x = self.leaves[index](self.blocks[index](x) + levels[index])
            if index > 0:
                x = F.pixel_shuffle(x, 2)
        x = self.predict(x)
        if self.output == "sigmoid":
            x = x.sigmoid()
        return self.scale * F.interpolate(x, scale_factor=float(self.stride), mode="bilinear")

    def _check_sizes(self, levels: Sequence[Tensor]) -> None:
        sides = [tuple(features.shape[-2:]) for features in levels]
        if any((2 * low, 2 * wide) != finer for finer, (low, wide) in pairwise(sides)):
            shown = ", ".join(f"{height}x{width}" for height, width in sides)
            raise UserError(
                f"The head SASFDecoder needs images whose height and width are multiples of "
                f"{self.multiple}, got maps of {shown}.",
                f"Make the task's images a multiple of {self.multiple}, or use head=light.",
            )
