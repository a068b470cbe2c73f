"""Trunk: stem, stages and feature levels, elastic up to a largest architecture.

A supernet's backbone is a trunk whose limit is the largest point of its space; the trunk
of an extracted subnet is limited to the one architecture it is. Blocks that the limit
switches off do not exist, and the others keep their names and drop-path rates.

Legend: B batch, C channels, H W space.
"""

from collections.abc import Sequence
from itertools import repeat

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.blocks import Block
from evonas.nn.cost import MIXERS, NetworkShape
from evonas.nn.initialise import unset
from evonas.nn.level import Level
from evonas.nn.mixers import Slice
from evonas.nn.recompute import through
from evonas.nn.stem import PatchMerge, Stem
from evonas.space.evonet import Architecture, StageChoice


class Stage(nn.Module):
    """The blocks of one stage, named by their place in the supernet.

    Args:
        dim: channels.
        heads: heads of the mixers.
        limit: the largest choice; blocks that are off in it are not made.
        rates: drop-path rate of each place.
        slice: which channels of an SSD mixer a subnet has.
        mixer: which tokens a token reads, one of `cost.MIXERS`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        limit: StageChoice,
        rates: Sequence[float],
        slice: Slice = "prefix",
        mixer: str = MIXERS[0],
    ) -> None:
        super().__init__()
        places = [place for place, on in enumerate(limit.blocks) if on]
        self.blocks = nn.ModuleDict(
            {str(at): Block(dim, heads, limit, rates[at], slice, mixer) for at in places}
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Float[Tensor, "B C H W"], choice: StageChoice) -> tuple[Tensor, Tensor]:
        """Run the blocks that are on in `choice`, each of which must exist: (map to go on with, level)."""
        # blocks are mostly linear layers, so channels come last throughout
        tokens = x.permute(0, 2, 3, 1)
        for place, on in enumerate(choice.blocks):
            if on:
                tokens = through(self.blocks[str(place)], tokens, choice)
        return tokens.permute(0, 3, 1, 2), self.norm(tokens).permute(0, 3, 1, 2)


class Trunk(nn.Module):
    """Images to one feature map per stage.

    Args:
        limit: the largest architecture.
        shape: the sizes that are not searched.
        drop_path: rate of the last block; rates rise linearly over all places, on or off.
        momentum: of the batch norms.
        seed: of the random weights, or None to leave them unset for a state dict.
        slice: which channels of an SSD mixer a smaller architecture has.
    """

    def __init__(
        self,
        limit: Architecture,
        shape: NetworkShape,
        drop_path: float = 0.0,
        momentum: float = 0.1,
        seed: int | None = 0,
        slice: Slice = "prefix",
    ) -> None:
        super().__init__()
        self.limit, self.shape, self.drop_path, self.momentum = limit, shape, drop_path, momentum
        self.slice = slice
        self.levels = tuple(Level(dim, 4 * 2**index) for index, dim in enumerate(shape.dims))
        with unset(self, seed):
            self._build(limit, shape)

    def _build(self, limit: Architecture, shape: NetworkShape) -> None:
        dims = shape.dims
        rates = _rates([len(choice.blocks) for choice in limit.stages], self.drop_path)
        self.stem = Stem(shape.stem_dim, shape.stem_hidden, dims[0], self.momentum)
        same = repeat(self.slice), repeat(shape.mixer)
        self.stages = nn.ModuleList(map(Stage, dims, shape.heads, limit.stages, rates, *same))
        self.merges = nn.ModuleList(
            PatchMerge(dims[at], shape.merge_hidden(at), dims[at + 1], self.momentum)
            for at in range(len(dims) - 1)
        )

    def forward(self, x: Float[Tensor, "B 3 H W"], architecture: Architecture) -> list[Tensor]:
        """Maps [B C H/s W/s], one per entry of `levels`, sizes rounded up."""
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        maps = []
        for index, (stage, choice) in enumerate(zip(self.stages, architecture.stages, strict=True)):
            x, level = stage(x, choice)
            maps.append(level)
            if index < len(self.merges):
                x = self.merges[index](x)
        return maps


def _rates(depths: Sequence[int], highest: float) -> list[list[float]]:
    rising = iter(torch.linspace(0, highest, sum(depths), device="cpu").tolist())
    return [[next(rising) for _ in range(depth)] for depth in depths]
