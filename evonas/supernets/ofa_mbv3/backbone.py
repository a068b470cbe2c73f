"""The backbone of Once-for-All's MobileNetV3, with the names and shapes of its state dicts.

A smaller kernel is the centre of the next larger one, times a shared matrix (arXiv 1908.09791, figure 3). The supernet
has the matrices; a subnet's kernels are computed from them when the subnet is bound, and an extracted network has the
results as its weights.

Legend: B batch, C channels, H W space, K kernel size.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.initialise import uninitialised
from evonas.nn.level import pyramid
from evonas.nn.mobilenet_v3 import HeConv2d, SqueezeExcite, activation, named
from evonas.nn.residual import ResidualBlock, rising_rates
from evonas.supernets.backbone import Activation, Backbone
from evonas.supernets.input_size import input_size
from evonas.supernets.ofa_mbv3.cost import (
    LEVEL_STAGES,
    BlockShape,
    NetworkShape,
    block_shapes,
    description,
    path,
)
from evonas.supernets.ofa_mbv3.space import Architecture, BlockChoice


def matrix_name(larger: int) -> str:
    """The name of the matrix that makes a kernel of the next smaller size: 7to5_matrix."""
    return f"{larger}to{larger - 2}_matrix"


def smaller_kernel(weight: Float[Tensor, "C 1 K K"], *matrices: Tensor) -> Tensor:
    """A kernel that is smaller by two for each matrix.

    Args:
        weight: the largest kernel of each channel.
        matrices: (k^2, k^2) for each smaller size k, largest first; a centre, flattened row by row, is multiplied by
            the transposed matrix.
    """
    for matrix in matrices:
        centre = weight[:, :, 1:-1, 1:-1]
        weight = F.linear(centre.flatten(1), matrix).view(centre.shape)
    return weight


class DepthwiseConv2d(HeConv2d):
    """A depthwise convolution without bias whose channels and kernel size are those of its weight."""

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__(channels, channels, kernel, stride, padding=kernel // 2, groups=channels, bias=False)

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H2 W2"]:
        channels, _, side, _ = self.weight.shape
        return F.conv2d(input, self.weight, None, self.stride, side // 2, groups=channels)


class ElasticKernel(nn.Module):
    """A depthwise convolution, and in the supernet the matrices that make its smaller kernels.

    Args:
        of: the block.
        kernels: all sizes of the supernet, ascending; empty without matrices.
    """

    def __init__(self, of: BlockShape, kernels: Sequence[int]) -> None:
        super().__init__()
        self.conv = DepthwiseConv2d(of.hidden, of.kernel, of.stride)
        for smaller, larger in pairwise(kernels):
            self.register_parameter(matrix_name(larger), nn.Parameter(torch.empty(smaller**2, smaller**2)))

    def draw_weights(self, generator: torch.Generator) -> None:  # noqa: ARG002
        """Initialises the matrices as identities, so that smaller kernels are centres."""
        for matrix in self.parameters(recurse=False):
            nn.init.eye_(matrix)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H2 W2"]:
        found: Tensor = self.conv(x)
        return found


class InvertedResidual(ResidualBlock):
    """1x1, depthwise and 1x1 convolution, with squeeze-and-excitation where the block has it.

    Args:
        of: channels, kernel and stride; a block of stride 1 with as many output as input channels adds its input.
        act: the activation.
        kernels: see `ElasticKernel`.
        drop_path: probability of dropping the residual branch of a sample in training.
        norm: makes the batch norm of a number of channels.
    """

    def __init__(
        self,
        of: BlockShape,
        act: str,
        kernels: Sequence[int],
        drop_path: float,
        norm: "partial[nn.BatchNorm2d]",
    ) -> None:
        super().__init__(drop_path)
        self.is_residual = of.stride == 1 and of.given == of.out
        depthwise = {
            "conv": ElasticKernel(of, kernels),
            "bn": named(bn=norm(of.hidden)),
            "act": activation(act),
        }
        if of.squeezed:
            depthwise["se"] = SqueezeExcite(of.hidden, of.squeezed)
        self.conv = named(
            inverted_bottleneck=named(
                conv=named(conv=HeConv2d(of.given, of.hidden, 1, bias=False)),
                bn=named(bn=norm(of.hidden)),
                act=activation(act),
            ),
            depth_conv=named(**depthwise),
            point_linear=named(
                conv=named(conv=HeConv2d(of.hidden, of.out, 1, bias=False)), bn=named(bn=norm(of.out))
            ),
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C_out H2 W2"]:
        y = self.conv(x)
        return x + self.drop(y) if self.is_residual else y


class FixedBlock(ResidualBlock):
    """The first block: depthwise and 1x1 convolution of the stem's channels, and its input."""

    def __init__(self, channels: int, act: str, norm: "partial[nn.BatchNorm2d]") -> None:
        super().__init__()
        self.conv = named(
            depth_conv=named(conv=DepthwiseConv2d(channels, 3, 1), bn=norm(channels), act=activation(act)),
            point_linear=named(conv=HeConv2d(channels, channels, 1, bias=False), bn=norm(channels)),
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        found: Tensor = x + self.conv(x)
        return found


class OFABackbone(Backbone):
    """Maps images to feature maps at strides 4, 8, 16 and 32.

    Args:
        of: the architecture.
        shape: what is not searched.
        kernels: sizes of kernels that the matrices of a supernet make, ascending; empty for a static network.
        drop_path: rate of the last block; rates rise linearly over all blocks, active or not.
        momentum: momentum of the batch norms.
        seed: seed of the random weights; None leaves them uninitialised, to be loaded.
    """

    def __init__(
        self,
        of: Architecture,
        shape: NetworkShape,
        kernels: Sequence[int] = (),
        drop_path: float = 0.0,
        momentum: float = 0.1,
        seed: int | None = 0,
    ) -> None:
        super().__init__(
            path(of, shape),
            pyramid(shape.channels[stage] for stage in LEVEL_STAGES),
            partial(description, of, shape),
            partial(input_size, of.resolution),
        )
        self.depths = shape.depths
        norm = partial(nn.BatchNorm2d, eps=shape.bn_eps, momentum=momentum)
        rates = rising_rates(shape.depths, drop_path)
        with uninitialised(self, seed):
            self.first_conv = named(
                conv=HeConv2d(3, shape.stem, 3, stride=2, padding=1, bias=False),
                bn=norm(shape.stem),
                act=activation(shape.act_func or "h_swish"),
            )
            self.blocks = nn.ModuleDict({"0": FixedBlock(shape.stem, shape.act_func or "relu", norm)})
            for stage in range(len(of.stages)):
                for at, block in enumerate(block_shapes(of, shape, stage)):
                    self.blocks[str(shape.number(stage, at))] = InvertedResidual(
                        block, shape.activation(stage), kernels, rates[stage][at], norm
                    )

    def parts(self, index: int) -> tuple[nn.Module, ...]:
        stage, place = self.path[index].at
        if stage == 0:
            return self.first_conv, self.blocks["0"]
        if place == self.depths[stage - 1]:
            return ()
        return (self.blocks[str(sum(self.depths[: stage - 1]) + place + 1)],)

    def run(self, index: int, at: Activation) -> Activation:
        parts = self.parts(index)
        if not parts:
            return Activation(at.map, (*at.levels, at.map))
        found = at.map
        if self.path[index].at[0] == 0:
            found = found.contiguous(memory_format=torch.channels_last)
        for part in parts:
            found = part(found)
        return Activation(found, at.levels)


def restore(description: dict[str, Any]) -> OFABackbone:
    """A backbone from its description; see `families.restore`."""
    given, network = description["architecture"], description["network"]
    stages = tuple(tuple(BlockChoice(**block) for block in stage) for stage in given["stages"])
    shape = NetworkShape(network["width"], tuple(network["depths"]), network["act_func"], network["bn_eps"])
    return OFABackbone(Architecture(given["resolution"], stages), shape, seed=None)
