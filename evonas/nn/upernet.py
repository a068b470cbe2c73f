"""UPerNet head with EvoNAS's Mamba layers or the original pyramid pooling.

Legend: B batch, C channels or classes, H W space.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.auxiliary import AuxiliaryOutput
from evonas.nn.initialise import uninitialised
from evonas.nn.level import Level
from evonas.nn.necks.mamba_fpn import ConvNormReLU, TopDown, resized

CONTEXTS = ("mamba", "ppm")
_POOLS = (1, 2, 3, 6)
# index of the auxiliary head's level, if there are so many levels
AUXILIARY_LEVEL = 2


class PooledTopDown(nn.Module):
    """UPerNet's top-down path (arXiv 1807.10221): pyramid pooling on the coarsest map, then lateral sums.

    Args:
        channels: channels of the levels, finest first.
        width: channels of every output map.
        bn_momentum: momentum of the batch norms.
    """

    def __init__(self, channels: Sequence[int], width: int, bn_momentum: float = 0.1) -> None:
        super().__init__()
        last = channels[-1]
        self.pools = nn.ModuleList(ConvNormReLU(last, width, 1, bn_momentum) for _ in _POOLS)
        self.join = ConvNormReLU(last + len(_POOLS) * width, width, 3, bn_momentum)
        self.laterals = nn.ModuleList(ConvNormReLU(dim, width, 1, bn_momentum) for dim in channels[:-1])

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps of equal width, finest first."""
        last = maps[-1]
        pooled = [
            pool(F.adaptive_avg_pool2d(last, size)) for pool, size in zip(self.pools, _POOLS, strict=True)
        ]
        found = [self.join(torch.cat([last, *(resized(each, last.shape[-2:]) for each in pooled)], dim=1))]
        for lateral, each in reversed(list(zip(self.laterals, maps[:-1], strict=True))):
            found.append(lateral(each) + resized(found[-1], each.shape[-2:]))
        return found[::-1]


class AuxiliaryHead(nn.Module):
    """Auxiliary FCN head: a convolution and a classifier on one level (arXiv 1411.4038).

    Args:
        channels: channels of the level.
        out_channels: number of classes.
        width: channels of the convolution.
        dropout: dropout rate of channels before the classifier.
        bn_momentum: momentum of the batch norm.
    """

    def __init__(
        self, channels: int, out_channels: int, width: int, dropout: float, bn_momentum: float
    ) -> None:
        super().__init__()
        self.conv = ConvNormReLU(channels, width, 3, bn_momentum)
        self.drop, self.predict = nn.Dropout2d(dropout), nn.Conv2d(width, out_channels, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C_out H W"]:
        """Logits at the level's size."""
        logits: Tensor = self.predict(self.drop(self.conv(x)))
        return logits


class UPerNet(nn.Module):
    """UPerNet: fuses all levels at the resolution of the finest one, with an auxiliary head in training.

    With context=mamba the top-down path is `TopDown`, EvoNAS's UPerHead with Mamba layers: 17 595 679 parameters for
    levels of 64, 128, 256 and 512 channels and 150 classes, and 628 886 of the auxiliary head. Logits have the size of
    the finest map; in training mode the output is an `AuxiliaryOutput`.

    Args:
        levels: levels of the backbone, finest first.
        out_channels: number of classes.
        output: must be `linear`.
        width: channels of every map.
        context: `mamba`, or `ppm` for UPerNet's pyramid pooling.
        dropout: dropout rate of channels before a classifier.
        side_width: channels of the auxiliary head, on the third level or the coarsest; 0 for no auxiliary head.
        side_weight: weight of the auxiliary loss.
        bn_momentum: momentum of all batch norms.
        seed: seed of the random weights.

    Raises:
        UserError: context or output is unknown.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        out_channels: int,
        output: str = "linear",
        width: int = 512,
        context: str = "mamba",
        dropout: float = 0.1,
        side_width: int = 256,
        side_weight: float = 0.4,
        bn_momentum: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check(context, output)
        self.width, self.context, self.dropout, self.bn_momentum = width, context, dropout, bn_momentum
        self.side_width, self.side_weight = side_width, side_weight
        self.side_level = min(AUXILIARY_LEVEL, len(levels) - 1)
        channels, momentum, is_mamba = [level.channels for level in levels], bn_momentum, context == "mamba"
        with uninitialised(self, seed):
            self.top_down: nn.Module = (
                TopDown(channels, bn_momentum=momentum)
                if is_mamba
                else PooledTopDown(channels, width, momentum)
            )
            # the coarsest map of PooledTopDown has passed its convolution already
            dims = channels if is_mamba else [width] * (len(channels) - 1)
            self.leaves = nn.ModuleList(ConvNormReLU(dim, width, 3, momentum) for dim in dims)
            self.join = ConvNormReLU(len(channels) * width, width, 3, momentum)
            self.drop, self.predict = nn.Dropout2d(dropout), nn.Conv2d(width, out_channels, 1)
            self.auxiliary = (
                AuxiliaryHead(channels[self.side_level], out_channels, side_width, dropout, momentum)
                if side_width
                else None
            )

    @property
    def settings(self) -> dict[str, Any]:
        """Constructor keywords except `levels` and `seed`, as JSON data."""
        names = ("width", "context", "dropout", "side_width", "side_weight", "bn_momentum")
        plain = {name: getattr(self, name) for name in names}
        return {"out_channels": self.predict.out_channels, **plain}

    def forward(self, levels: list[Tensor]) -> Tensor | AuxiliaryOutput:
        """Logits B C H W at the size of the finest map, from maps finest first."""
        maps = self.top_down(levels)
        found = [leaf(each) for leaf, each in zip(self.leaves, maps, strict=False)]
        found += maps[len(found) :]
        size = found[0].shape[-2:]
        joined = self.join(torch.cat([found[0], *(resized(each, size) for each in found[1:])], dim=1))
        logits: Tensor = self.predict(self.drop(joined))
        if self.auxiliary is None or not self.training:
            return logits
        return AuxiliaryOutput(logits, self.auxiliary(levels[self.side_level]), self.side_weight)


def check(context: str, output: str) -> None:
    """Validates settings of UPerNet.

    Raises:
        UserError: context is unknown, or output is not linear.
    """
    if context not in CONTEXTS:
        raise UserError(f"head.context={context} is unknown.", f"Known: {', '.join(CONTEXTS)}.")
    if output != "linear":
        raise UserError(
            f"head.output must be linear for UPerNet, got {output}.", "Use head=mamba or head=light."
        )
