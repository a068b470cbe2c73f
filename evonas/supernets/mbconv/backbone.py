"""MBConv's backbone: stem, stages of inverted residuals, and a level after every stage.

Only active blocks exist; they have the names and drop-path rates that they have in the supernet. There is no activation
checkpointing, since every block contains batch norms.

Legend: B batch, C channels, H W space.
"""

from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.initialise import uninitialised
from evonas.nn.level import pyramid
from evonas.nn.residual import ResidualBlock, rising_rates
from evonas.supernets.backbone import Activation, Backbone
from evonas.supernets.mbconv.cost import BlockShape, NetworkShape, block_shapes, description, input_size, path
from evonas.supernets.mbconv.space import Architecture, BlockChoice, StageChoice


class Depthwise(nn.Conv2d):
    """A depthwise convolution without bias whose channels and kernel size are those of its weight."""

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__(channels, channels, kernel, stride, padding=kernel // 2, groups=channels, bias=False)

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H2 W2"]:
        channels, _, side, _ = self.weight.shape
        return F.conv2d(input, self.weight, None, self.stride, side // 2, groups=channels)


class InvertedResidual(ResidualBlock):
    """Inverted residual: 1x1, depthwise and 1x1 convolution (MobileNetV2, arXiv 1801.04381, with ReLU).

    Args:
        of: channels, kernel and stride; a block of stride 1 adds its input.
        drop_path: probability of dropping the residual branch of a sample in training.
        momentum: momentum of the batch norms.
    """

    def __init__(self, of: BlockShape, drop_path: float, momentum: float) -> None:
        super().__init__(drop_path)
        self.is_residual = of.stride == 1
        self.widen = nn.Conv2d(of.given, of.hidden, 1, bias=False)
        self.widen_norm = nn.BatchNorm2d(of.hidden, momentum=momentum)
        self.space = Depthwise(of.hidden, of.kernel, of.stride)
        self.space_norm = nn.BatchNorm2d(of.hidden, momentum=momentum)
        self.narrow = nn.Conv2d(of.hidden, of.out, 1, bias=False)
        self.narrow_norm = nn.BatchNorm2d(of.out, momentum=momentum)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C_out H2 W2"]:
        y = F.relu(self.widen_norm(self.widen(x)))
        y = F.relu(self.space_norm(self.space(y)))
        y = self.narrow_norm(self.narrow(y))
        return x + self.drop(y) if self.is_residual else y


class Stage(nn.Module):
    """The active blocks of a stage, named by their index, and the projection to its level."""

    def __init__(
        self, blocks: list[BlockShape], rates: list[float], width: int, level: int, momentum: float
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict(
            {str(at): InvertedResidual(block, rates[at], momentum) for at, block in enumerate(blocks)}
        )
        self.end = nn.Conv2d(width, level, 1, bias=False)
        self.end_norm = nn.BatchNorm2d(level, momentum=momentum)


class MBConvBackbone(Backbone):
    """Maps images to one feature map per stage, at strides 4, 8, 16 and so on.

    Args:
        of: the architecture.
        shape: the sizes that are not searched.
        drop_path: rate of the last block; rates rise linearly over all blocks, active or not.
        momentum: momentum of the batch norms.
        seed: seed of the random weights; None leaves them uninitialised, to be loaded.
    """

    def __init__(
        self,
        of: Architecture,
        shape: NetworkShape,
        drop_path: float = 0.0,
        momentum: float = 0.1,
        seed: int | None = 0,
    ) -> None:
        super().__init__(
            path(of, shape),
            pyramid(shape.levels),
            partial(description, of, shape),
            partial(input_size, of.resolution),
        )
        rates = rising_rates(shape.depths, drop_path)
        with uninitialised(self, seed):
            self.stem = nn.Conv2d(3, shape.stem, 3, stride=2, padding=1, bias=False)
            self.stem_norm = nn.BatchNorm2d(shape.stem, momentum=momentum)
            self.stages = nn.ModuleList(
                Stage(list(block_shapes(of, shape, at)), rates[at], choice.width, shape.levels[at], momentum)
                for at, choice in enumerate(of.stages)
            )

    def parts(self, index: int) -> tuple[nn.Module, ...]:
        number, place = self.path[index].at
        if number == 0:
            return self.stem, self.stem_norm
        stage = cast(Stage, self.stages[number - 1])
        if str(place) in stage.blocks:
            return (stage.blocks[str(place)],)
        return stage.end, stage.end_norm

    def run(self, index: int, at: Activation) -> Activation:
        parts = self.parts(index)
        if len(parts) == 1:
            return Activation(parts[0](at.map), at.levels)
        project, norm = parts
        if self.path[index].at[0] == 0:
            images = at.map.contiguous(memory_format=torch.channels_last)
            return Activation(F.relu(norm(project(images))))
        found = norm(project(at.map))
        return Activation(found, (*at.levels, found))


def restore(description: dict[str, Any]) -> MBConvBackbone:
    """A backbone from its description; see `families.restore`."""
    given, network = description["architecture"], description["network"]
    stages = tuple(
        StageChoice(stage["width"], tuple(BlockChoice(**block) for block in stage["blocks"]))
        for stage in given["stages"]
    )
    shape = NetworkShape(network["stem"], tuple(network["levels"]), tuple(network["depths"]))
    return MBConvBackbone(Architecture(given["resolution"], stages), shape, seed=None)
