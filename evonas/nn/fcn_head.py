"""Segmentation heads of two convolutions, one on each level; all but the first are auxiliary.

Legend: B batch, C channels, K classes, H W space.
"""

import math
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

# more channels than this are halved before the classes
_WIDEST = 256


class FanInConv2d(nn.Conv2d):
    """A convolution with normal weights of deviation sqrt(2 / fan in), and zero bias."""

    def draw_weights(self, generator: torch.Generator) -> None:
        """Initialises the weights (arXiv 1502.01852)."""
        self.weight.normal_(0, math.sqrt(2 / self.weight[0].numel()), generator=generator)
        if self.bias is not None:
            self.bias.zero_()


class ConvBNReLU(nn.Module):
    """A convolution without bias, batch norm and ReLU.

    Args:
        given: input channels.
        out: output channels.
        kernel: odd kernel size.
        stride: stride.
        momentum: momentum of the batch norm.
    """

    def __init__(self, given: int, out: int, kernel: int, stride: int = 1, momentum: float = 0.1) -> None:
        super().__init__()
        self.conv = FanInConv2d(given, out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out, momentum=momentum)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        return F.relu(self.bn(self.conv(x)))


def interpolated(x: Float[Tensor, "B C H W"], size: Sequence[int]) -> Float[Tensor, "B C H2 W2"]:
    """A map at another size, bilinear between its corners' centres."""
    if list(x.shape[-2:]) == list(size):
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=True)


class FCN(nn.Module):
    """A 3x3 convolution and a 1x1 convolution to the classes (arXiv 1411.4038).

    Args:
        channels: input channels; more than 256 are halved by the first convolution.
        out_channels: number of classes.
        momentum: momentum of the batch norm.
        middle: output channels of the first convolution; None for as many as the input has, or half of them.
    """

    def __init__(
        self, channels: int, out_channels: int, momentum: float = 0.1, middle: int | None = None
    ) -> None:
        super().__init__()
        if middle is None:
            middle = _middle(channels)
        self.conv = ConvBNReLU(channels, middle, 3, momentum=momentum)
        self.predict = FanInConv2d(middle, out_channels, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
        """Logits at the size of the map."""
        logits: Tensor = self.predict(self.conv(x))
        return logits


def _middle(channels: int) -> int:
    return channels if channels <= _WIDEST else channels // 2


class FCNHead(nn.Module):
    """Logits from the finest level, and in training from all others too, interpolated to the images' size.

    In training mode the output is an `AuxiliaryOutput`, whose auxiliary logits are those of the coarser levels.

    Args:
        levels: levels of the backbone, finest first.
        out_channels: number of classes.
        output: must be `linear`.
        side_weight: weight of the loss of each auxiliary head; 0 for none.
        bn_momentum: momentum of the batch norms.
        seed: seed of the random weights.
        middles: channels behind the first convolution on each level; None for those of the level, or half of more than
            256. A network whose levels lost channels keeps those of the whole network.

    Raises:
        UserError: the output is not linear.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        out_channels: int,
        output: str = "linear",
        side_weight: float = 0.2,
        bn_momentum: float = 0.1,
        seed: int = 0,
        middles: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if output != "linear":
            raise UserError(
                f"head.output must be linear for classes, got {output}.", "Use head=light for other tasks."
            )
        self.strides, self.side_weight, self.bn_momentum = (
            [level.stride for level in levels],
            side_weight,
            bn_momentum,
        )
        with uninitialised(self, seed):
            wanted = [None] * len(levels) if middles is None else middles
            main, *others = (
                FCN(level.channels, out_channels, bn_momentum, middle)
                for level, middle in zip(levels, wanted, strict=True)
            )
            self.main = main
            self.auxiliary = nn.ModuleList(others if side_weight else [])

    @property
    def settings(self) -> dict[str, Any]:
        """Constructor keywords except `levels` and `seed`, as JSON data."""
        found: dict[str, Any] = {
            "out_channels": self.main.predict.out_channels,
            "side_weight": self.side_weight,
            "bn_momentum": self.bn_momentum,
        }
        shapes = [each.conv.conv.weight.shape for each in (self.main, *self.auxiliary)]
        if any(middle != _middle(channels) for middle, channels, *_ in shapes):
            # without auxiliary heads the other levels are not read
            found["middles"] = [shape[0] for shape in shapes] + [1] * (len(self.strides) - len(shapes))
        return found

    def level_tensors(self) -> list[list[tuple[str, int]]]:
        """See `evonas.supernets.elastic_head`."""
        names = ["main", *(f"auxiliary.{at}" for at in range(len(self.auxiliary)))]
        found = [[(f"{name}.conv.conv.weight", 1)] for name in names]
        return [*found, *([] for _ in range(len(self.strides) - len(found)))]

    def forward(self, levels: list[Tensor]) -> Tensor | AuxiliaryOutput:
        """Logits B K H W at the images' size, from maps finest first."""
        size = [side * self.strides[0] for side in levels[0].shape[-2:]]
        logits = interpolated(self.main(levels[0]), size)
        if not self.training or not len(self.auxiliary):
            return logits
        others = zip(self.auxiliary, levels[1:], strict=True)
        return AuxiliaryOutput(
            logits, tuple(interpolated(head(each), size) for head, each in others), self.side_weight
        )
