"""Steps of Once-for-All's MobileNetV3, and their exact parameters and multiply-adds in closed form. Torch-free.

Multiply-adds count convolutions and linear layers, those of squeeze-and-excitation included; norms, activations, means
and interpolation are excluded. The formulas are those of the layers in `backbone.py`; tests compare them with counted
networks and with the numbers of the published networks.

Legend: I input channels, M hidden channels, O output channels, K kernel size, Q squeezed channels.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from evonas.supernets.base import Cost
from evonas.supernets.input_size import input_size
from evonas.supernets.ofa_mbv3.space import Architecture
from evonas.supernets.step import Size, Step

_STEM, _CHANNELS = 16, (24, 40, 80, 112, 160)
_STRIDES = (2, 2, 2, 1, 2)
_HAS_SE = (False, True, False, True, True)
_IS_H_SWISH = (False, False, True, True, True)
# stages whose last map is a level: those before the resolution is halved, and the last one
LEVEL_STAGES = (0, 1, 3, 4)
# channels of the published head's two convolutions, as multiples of those of the last level
EXPAND, MIX = 6, 8


def rounded(channels: float) -> int:
    """The nearest multiple of 8, from 8 on, that is not below 0.9 of the channels (as in MobileNetV2)."""
    found = max(8, int(channels + 4) // 8 * 8)
    return found + 8 if found < 0.9 * channels else found


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """What is not searched.

    Args:
        width: multiplier of all channels; the published supernets have 1.0 and 1.2.
        depths: maximum number of blocks of each stage.
        act_func: one activation for all layers, such as `mish`; None for ReLU and h-swish as published.
        bn_eps: constant of the batch norms.
    """

    width: float
    depths: tuple[int, ...]
    act_func: str | None = None
    bn_eps: float = 1e-5

    @property
    def stem(self) -> int:
        """Channels of the stem and of the fixed block."""
        return rounded(_STEM * self.width)

    @property
    def channels(self) -> tuple[int, ...]:
        """Output channels of each stage."""
        return tuple(rounded(each * self.width) for each in _CHANNELS)

    def number(self, stage: int, place: int) -> int:
        """The number of a block over all stages, from 1 on; 0 is the fixed block."""
        return sum(self.depths[:stage]) + place + 1

    def activation(self, stage: int) -> str:
        """The activation of a stage's blocks."""
        return self.act_func or ("h_swish" if _IS_H_SWISH[stage] else "relu")

    def block(self, stage: int, place: int, kernel: int, expand: float) -> "BlockShape":
        """The block at a place of a stage; the first one has the stage's stride."""
        given = self.channels[stage] if place else (self.stem, *self.channels)[stage]
        hidden = rounded(round(given * expand))
        squeezed = rounded(hidden // 4) if _HAS_SE[stage] else 0
        stride = 1 if place else _STRIDES[stage]
        return BlockShape(given, hidden, self.channels[stage], squeezed, kernel, stride)


@dataclass(frozen=True, slots=True)
class BlockShape:
    """Input, hidden, output and squeezed channels of a block, its kernel size and stride; 0 squeezed: no SE."""

    given: int
    hidden: int
    out: int
    squeezed: int
    kernel: int
    stride: int

    def cost(self, height: int, width: int) -> Cost:
        """The cost on an input map of this height and width."""
        i, m, o, q, taps = self.given, self.hidden, self.out, self.squeezed, self.kernel**2
        before, after = height * width, halved(height, self.stride) * halved(width, self.stride)
        se = 2 * m * q + q + m if q else 0
        params = (i * m + 2 * m) + (taps * m + 2 * m) + se + (m * o + 2 * o)
        return Cost(params, before * i * m + after * (taps * m + m * o) + 2 * m * q)


def block_shapes(of: Architecture, shape: NetworkShape, stage: int) -> Iterator[BlockShape]:
    """Yields the active blocks of a stage, counted from 0."""
    for place, block in enumerate(of.stages[stage]):
        yield shape.block(stage, place, block.kernel, block.expand)


@lru_cache(maxsize=65536)
def path(of: Architecture, shape: NetworkShape) -> tuple[Step, ...]:
    """The steps of an architecture: stem and fixed block, then the blocks of each stage, and the levels.

    Stages count from 1 in places; a level is at the place after the last possible block of its stage. The resolution is
    part of every step, since it affects the cost of each.
    """
    scale = f"r={of.resolution:g}"
    steps = [Step((0, 0), (of.resolution,), f"stem/{scale}")]
    for stage, choices in enumerate(of.stages):
        head = f"stage{stage + 1}/{scale}"
        for at, (block, chosen) in enumerate(zip(block_shapes(of, shape, stage), choices, strict=True)):
            work = f"w={block.given}>{block.out}/k={block.kernel}/e={chosen.expand:g}"
            label = f"{head}/{work}/first" if at == 0 else f"{head}/{work}"
            what = (block.given, block.hidden, block.out, block.squeezed, block.kernel, block.stride)
            steps.append(Step((stage + 1, at), (of.resolution, *what), label))
        if stage in LEVEL_STAGES:
            steps.append(Step((stage + 1, shape.depths[stage]), (of.resolution,), f"{head}/level"))
    return tuple(steps)


def price(step: Step, shape: NetworkShape, size: Size) -> Cost:
    """The cost of a step for an image of `size` (height, width in pixels) before resizing."""
    resolution, *what = step.choice
    stage = step.at[0] - 1
    if stage >= 0 and step.at[1] == shape.depths[stage]:
        return Cost(0, 0)
    height, width = (halved(side) for side in input_size(float(resolution), size))
    if stage < 0:
        c = shape.stem
        return Cost((27 * c + 2 * c) + (9 * c + 2 * c) + (c * c + 2 * c), (27 + 9 + c) * c * height * width)
    for stride in _STRIDES[: stage + (0 if step.at[1] == 0 else 1)]:
        height, width = halved(height, stride), halved(width, stride)
    return BlockShape(*map(int, what)).cost(height, width)


def head_cost(shape: NetworkShape, own: Size, classes: int) -> Cost:
    """The cost of the published head (`nn/mobilenet_v3.py`) behind images that are read at size `own`."""
    height, width = own
    for stride in (2, *_STRIDES):
        height, width = halved(height, stride), halved(width, stride)
    c = shape.channels[-1]
    expand, mix = c * EXPAND, c * MIX
    params = (c * expand + 2 * expand) + expand * mix + (mix * classes + classes)
    return Cost(params, height * width * c * expand + expand * mix + mix * classes)


def description(of: Architecture, shape: NetworkShape) -> dict[str, Any]:
    """An architecture and what is not searched, as JSON data; see `families.restore`."""
    return {"family": "ofa_mbv3", "architecture": asdict(of), "network": asdict(shape)}


def halved(side: int, stride: int = 2) -> int:
    """The side of the map behind a layer of a stride."""
    # a convolution that is padded by half its kernel rounds up
    return -(-side // stride)
