"""EvoNet's backbone: stem, stages of blocks, patch merges, and a level after every stage.

Only active blocks exist; they have the names and drop-path rates that they have in the supernet.

Legend: B batch, C channels, H W space, D width of a stage.
"""

from functools import partial
from typing import Any, cast

import torch
from torch import nn

from evonas.nn.checkpointing import checkpointed
from evonas.nn.initialise import uninitialised
from evonas.nn.level import pyramid
from evonas.nn.residual import rising_rates
from evonas.supernets.backbone import Activation, Backbone, unchanged
from evonas.supernets.evonet.block import Block
from evonas.supernets.evonet.cost import NetworkShape, description, path
from evonas.supernets.evonet.space import Architecture, StageChoice
from evonas.supernets.evonet.stem import PatchMerge, Stem
from evonas.supernets.input_size import input_size


class Stage(nn.Module):
    """The active blocks of a stage, named by their index in the supernet, and the norm of its level."""

    def __init__(self, dim: int, heads: int, choice: StageChoice, rates: list[float], mixer: str) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict(
            {
                str(at): Block(dim, heads, choice, rates[at], mixer)
                for at, on in enumerate(choice.blocks)
                if on
            }
        )
        self.norm = nn.LayerNorm(dim)


class EvoNetBackbone(Backbone):
    """Maps images to one feature map per stage.

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
            path(of),
            pyramid(shape.dims),
            partial(description, of, shape),
            unchanged if of.resolution is None else partial(input_size, of.resolution),
        )
        self.depths = tuple(len(choice.blocks) for choice in of.stages)
        dims, last = shape.dims, len(shape.dims) - 1
        rates = rising_rates([len(choice.blocks) for choice in of.stages], drop_path)
        with uninitialised(self, seed):
            self.stem = Stem(shape.stem_dim, shape.stem_hidden, dims[0], momentum)
            self.stages = nn.ModuleList(
                Stage(dims[at], shape.heads[at], choice, rates[at], shape.mixer)
                for at, choice in enumerate(of.stages)
            )
            self.merges = nn.ModuleList(
                PatchMerge(dims[at], shape.merge_hidden(at), dims[at + 1], momentum) for at in range(last)
            )

    def parts(self, index: int) -> tuple[nn.Module, ...]:
        stage, block = self._modules_at(index)
        if stage is None:
            return (self.stem,)
        if block is not None:
            return (block,)
        number = self.path[index].at[0] - 1
        return (stage.norm, *self.merges[number : number + 1])

    def run(self, index: int, at: Activation) -> Activation:
        stage, block = self._modules_at(index)
        # blocks are mostly linear layers, so channels come last from the stem on
        if stage is None:
            found = self.stem(at.map.contiguous(memory_format=torch.channels_last))
            return Activation(found.permute(0, 2, 3, 1))
        if block is not None:
            return Activation(checkpointed(block, at.map), at.levels)
        levels = (*at.levels, stage.norm(at.map).permute(0, 3, 1, 2))
        number = self.path[index].at[0] - 1
        if number == len(self.merges):
            return Activation(at.map, levels)
        merged = self.merges[number](at.map.permute(0, 3, 1, 2))
        return Activation(merged.permute(0, 2, 3, 1), levels)

    def _modules_at(self, index: int) -> tuple[Stage | None, Block | None]:
        """The stage and the block of a step; both None for the stem, no block at the end of a stage."""
        step = self.path[index]
        if step.at[0] == 0:
            return None, None
        stage = cast(Stage, self.stages[step.at[0] - 1])
        is_block = step.at[1] < self.depths[step.at[0] - 1]
        return stage, cast(Block, stage.blocks[str(step.at[1])]) if is_block else None


def restore(description: dict[str, Any]) -> EvoNetBackbone:
    """A backbone from its description; see `families.restore`."""
    stages = tuple(StageChoice(**_tuples(stage)) for stage in description["architecture"])
    of = Architecture(stages, description.get("resolution"))
    return EvoNetBackbone(of, NetworkShape(**_tuples(description["network"])), seed=None)


def _tuples(record: dict[str, Any]) -> dict[str, Any]:
    """A JSON record with lists converted to tuples, for frozen dataclasses."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
