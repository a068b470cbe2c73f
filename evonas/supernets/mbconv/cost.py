"""Steps of MBConv, and their exact parameters and multiply-adds in closed form. Torch-free.

Multiply-adds count convolutions; norms, activations, sums and interpolation are excluded. The formulas are those of the
layers in `backbone.py`; tests compare them with counted networks.

Legend: I input channels, M hidden channels, O output channels, K kernel size.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from evonas.supernets.base import Cost
from evonas.supernets.mbconv.space import Architecture
from evonas.supernets.step import Size, Step

# sides of downscaled images are multiples of `_MULTIPLE` and at least `_LEAST`, if the image is that large
_MULTIPLE, _LEAST = 8, 32


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """The sizes that are not searched.

    Args:
        stem: channels at stride 2.
        levels: channels of the level after each stage.
        depths: maximum number of blocks of each stage.
    """

    stem: int
    levels: tuple[int, ...]
    depths: tuple[int, ...]

    def given(self, stage: int) -> int:
        """Input channels of a stage, counted from 0."""
        return (self.stem, *self.levels)[stage]


@dataclass(frozen=True, slots=True)
class BlockShape:
    """Input, hidden and output channels of a block, its kernel size and stride."""

    given: int
    hidden: int
    out: int
    kernel: int
    stride: int

    def cost(self, height: int, width: int) -> Cost:
        """The cost on an input map of this height and width."""
        i, m, o, taps = self.given, self.hidden, self.out, self.kernel**2
        before, after = height * width, _halved(height, self.stride) * _halved(width, self.stride)
        params = (i * m + 2 * m) + (taps * m + 2 * m) + (m * o + 2 * o)
        return Cost(params, before * i * m + after * (taps * m + m * o))


def block_shapes(of: Architecture, shape: NetworkShape, stage: int) -> Iterator[BlockShape]:
    """Yields the active blocks of a stage, counted from 0; the first one has stride 2."""
    given, stride, choice = shape.given(stage), 2, of.stages[stage]
    for block in choice.blocks:
        yield BlockShape(given, int(block.expand * given), choice.width, block.kernel, stride)
        given, stride = choice.width, 1


@lru_cache(maxsize=65536)
def path(of: Architecture, shape: NetworkShape) -> tuple[Step, ...]:
    """The steps of an architecture: the stem, then the blocks and the end of each stage.

    Stages count from 1 in places; the end of a stage is at the place after its last possible block. The resolution is
    part of every step, since it affects the cost of each.
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
    """The cost of a step for an image of `size` (height, width in pixels) before resizing."""
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
    """The size to which an image is resized: multiples of 8 pixels, at least 32; unchanged for resolution 1."""
    if resolution == 1:
        return size
    height, width = (
        min(side, max(_LEAST, _MULTIPLE * round(side * resolution / _MULTIPLE))) for side in size
    )
    return height, width


def description(of: Architecture, shape: NetworkShape) -> dict[str, Any]:
    """An architecture and the sizes that are not searched, as JSON data; see `families.restore`."""
    return {"family": "mbconv", "architecture": asdict(of), "network": asdict(shape)}


def _halved(side: int, stride: int = 2) -> int:
    # a convolution that is padded by half its kernel rounds up
    return -(-side // stride)
