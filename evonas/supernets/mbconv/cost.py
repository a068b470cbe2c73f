"""The steps of a genotype, and their parameters and multiply-adds in closed form; exact, and free of torch.

Multiply-adds count convolutions; norms, activations, sums and interpolation are left out. Formulas: those of
the layers in `backbone.py`, written out; tests hold them equal to counted networks.

Legend: I channels in, M hidden channels, O channels out, K side of a kernel.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from evonas.supernets.base import Cost
from evonas.supernets.mbconv.space import Architecture
from evonas.supernets.step import Size, Step

# a smaller image's sides are multiples of this, and not below the least where the image has that much
_MULTIPLE, _LEAST = 8, 32


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """The sizes that are not searched.

    Args:
        stem: channels at stride 2.
        levels: channels of the level behind each stage.
        depths: blocks of each stage at most.
    """

    stem: int
    levels: tuple[int, ...]
    depths: tuple[int, ...]

    def given(self, stage: int) -> int:
        """Channels that a stage, counted from 0, is given."""
        return (self.stem, *self.levels)[stage]


@dataclass(frozen=True, slots=True)
class BlockShape:
    """The channels of one block, its kernel and stride."""

    given: int
    hidden: int
    out: int
    kernel: int
    stride: int

    def cost(self, height: int, width: int) -> Cost:
        """On a map of this height and width."""
        i, m, o, taps = self.given, self.hidden, self.out, self.kernel**2
        before, after = height * width, _halved(height, self.stride) * _halved(width, self.stride)
        params = (i * m + 2 * m) + (taps * m + 2 * m) + (m * o + 2 * o)
        return Cost(params, before * i * m + after * (taps * m + m * o))


def block_shapes(of: Architecture, shape: NetworkShape, stage: int) -> Iterator[BlockShape]:
    """The blocks that run in a stage, counted from 0; the first one halves the map."""
    given, stride, choice = shape.given(stage), 2, of.stages[stage]
    for block in choice.blocks:
        yield BlockShape(given, int(block.expand * given), choice.width, block.kernel, stride)
        given, stride = choice.width, 1


@lru_cache(maxsize=65536)
def path(of: Architecture, shape: NetworkShape) -> tuple[Step, ...]:
    """The stem, then per stage its blocks and its end at the place after the last block that may run.

    Stages count from 1. The resolution is part of every step, since it is part of what each one costs.
    """
    scale = f"r={of.resolution:g}"
    steps = [Step((0, 0), (of.resolution,), f"stem/{scale}")]
    for stage, choice in enumerate(of.stages):
        head = f"stage{stage + 1}/{scale}"
        for at, (block, chosen) in enumerate(zip(block_shapes(of, shape, stage), choice.blocks, strict=True)):
            work = f"w={block.given}>{block.out}/k={block.kernel}/e={chosen.expand:g}"
            label = f"{head}/{work}/halved" if block.stride == 2 else f"{head}/{work}"
            what = (of.resolution, block.given, block.hidden, block.out, block.kernel, block.stride)
            steps.append(Step((stage + 1, at), what, label))
        out = shape.levels[stage]
        end = (of.resolution, choice.width, out)
        steps.append(Step((stage + 1, shape.depths[stage]), end, f"{head}/w={choice.width}>{out}/end"))
    return tuple(steps)


def price(step: Step, shape: NetworkShape, size: Size) -> Cost:
    """What a step costs on an image of this size, given before it is resized."""
    resolution, *what = step.choice
    stage = step.at[0] - 1
    height, width = input_size(float(resolution), size)
    if stage < 0:
        places = _halved(height) * _halved(width)
        return Cost(27 * shape.stem + 2 * shape.stem, 27 * shape.stem * places)
    # before the first block of a stage the map has a stride of 2, 4 and so on
    is_first = step.at[1] == 0
    for _ in range(stage + (1 if is_first else 2)):
        height, width = _halved(height), _halved(width)
    if step.at[1] < shape.depths[stage]:
        return BlockShape(*map(int, what)).cost(height, width)
    given, out = map(int, what)
    return Cost(given * out + 2 * out, given * out * height * width)


def input_size(resolution: float, size: Size) -> Size:
    """The sides at which an image is read: all of it as it is, a part in multiples of 8 pixels from 32 on."""
    if resolution == 1:
        return size
    height, width = (
        min(side, max(_LEAST, _MULTIPLE * round(side * resolution / _MULTIPLE))) for side in size
    )
    return height, width


def description(of: Architecture, shape: NetworkShape) -> dict[str, Any]:
    """An architecture and the sizes that are not searched, as plain JSON; see `families.restore`."""
    return {"family": "mbconv", "architecture": asdict(of), "network": asdict(shape)}


def _halved(side: int, stride: int = 2) -> int:
    # a convolution that is padded by half its kernel rounds up
    return -(-side // stride)
