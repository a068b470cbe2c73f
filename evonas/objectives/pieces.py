"""The pieces of a network, each ready to be timed alone.

Legend: B batch, C channels, D width of a stage, H W space.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from evonas.nn.blocks import Block
from evonas.nn.supernet import Supernet
from evonas.objectives.table import signature
from evonas.space.evonet import Architecture, StageChoice, architecture


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a network and what goes into it; `signature` is empty for what every network has."""

    signature: str
    run: Callable[[Tensor], object]
    given: Tensor


def pieces(supernet: Supernet, image: Tensor) -> Iterator[Piece]:
    """Every block of the space once, and the parts that all networks share.

    Args:
        supernet: in eval mode, on the image's device.
        image: [1 3 H W].
    """
    smallest = architecture(supernet.space, supernet.space.smallest())
    maps = supernet.backbone(image, smallest)
    yield from _fixed(supernet, image, maps)
    for index, choices in enumerate(_choices(supernet)):
        given = torch.randn_like(maps[index].permute(0, 2, 3, 1).contiguous())
        for choice in choices:
            yield _block(supernet, index, choice, given)


def _block(supernet: Supernet, index: int, choice: StageChoice, given: Tensor) -> Piece:
    shape = supernet.backbone.shape
    block = Block(shape.dims[index], shape.heads[index], choice, mixer=shape.mixer).to(given.device).eval()
    return Piece(signature(index + 1, choice), lambda x: block(x, choice), given)


def _fixed(supernet: Supernet, image: Tensor, maps: list[Tensor]) -> Iterator[Piece]:
    backbone, head = supernet.backbone, supernet.head
    yield Piece("", lambda x: backbone.stem(x.contiguous(memory_format=torch.channels_last)), image)
    for stage, found in zip(backbone.stages, maps, strict=True):
        yield Piece("", cast(Callable[[Tensor], object], stage.norm), found.permute(0, 2, 3, 1).contiguous())
    for merge, found in zip(backbone.merges, maps, strict=False):
        yield Piece("", merge, found)
    yield Piece("", lambda _: head(maps), image)


def _choices(supernet: Supernet) -> list[list[StageChoice]]:
    """Every distinct block of each stage: all combinations of the stage's axes."""
    space = supernet.space
    largest: Architecture = architecture(space, space.largest())
    # the choices of a VSS-ViT space are numbers
    axes = {axis.name: cast(tuple[float, ...], axis.choices) for axis in space.axes}
    found = []
    for stage, base in enumerate(largest.stages, start=1):
        names = ["m"] if base.d_state is None else ["m", "s", "e"]
        grid = itertools.product(*(axes[f"{name}{stage}"] for name in names))
        found.append([_choice(base, dict(zip(names, values, strict=True))) for values in grid])
    return found


def _choice(base: StageChoice, values: Mapping[str, float]) -> StageChoice:
    if base.d_state is None:
        return replace(base, mlp_ratio=values["m"])
    return replace(base, mlp_ratio=values["m"], d_state=int(values["s"]), expand=values["e"])
