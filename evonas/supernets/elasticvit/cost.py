"""Steps of ElasticViT, and their exact parameters and multiply-adds in closed form. Torch-free.

There are two counts of multiply-adds. `macs` counts convolutions and matrix products as every family does, and is what
a counted network has. `published_macs` is the counter of the published code, to which published levels and sizes
of networks refer: it leaves out squeeze-and-excitation and shortcuts of reductions, counts the depthwise convolution of
values once instead of nine times and the softmax of attention, takes the input of a halving layer as twice its output,
and every halving inverted residual as one with a shortcut convolution.

Legend: I input channels, M hidden channels, O output channels, K kernel size, Q squeezed channels, C channels of an
attention stage, V channels of its values, N tokens.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

from evonas.supernets.base import Cost
from evonas.supernets.elasticvit.space import CONVS, HEAD, STAGES, Architecture
from evonas.supernets.input_size import input_size
from evonas.supernets.step import Size, Step

# of the first layer of each stage; the first convolution halves, too
STRIDES = (1, 2, 2, 2, 1, 2, 2)
# strides of the maps of T1 to T4
TOKEN_STRIDES = (16, 16, 32, 64)
# stages whose last map is a level: those before the resolution is halved, and the last one
LEVEL_STAGES = (1, 2, 4, 5, 6)
# hidden channels of a reduction divided by its input channels
REDUCTION = 6
# the published head: channels before the mean as a multiple of those of the last stage, channels behind it
EXPAND, MIX, CLASSES = 6, 1984, 1000
_SQUEEZED = 4


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """What is not searched, but for the largest widths.

    Args:
        depths: the most layers of each stage.
        levels: channels of the levels, the most that the stages have.
        bias_side: side in pixels of the square image whose maps the tables of relative positions cover.
        bn_eps: constant of the batch norms.
    """

    depths: tuple[int, ...]
    levels: tuple[int, ...]
    bias_side: int
    bn_eps: float = 1e-5

    def table(self, stage: int) -> int:
        """The side of the square map that the table of relative positions of a stage covers."""
        return _over(self.bias_side, TOKEN_STRIDES[stage - CONVS])


@dataclass(frozen=True, slots=True)
class BlockShape:
    """An inverted residual: input, hidden and output channels, squeezed channels (0: no SE), kernel and stride.

    `expands` is false for a block of the stem, which has no first convolution.
    """

    given: int
    hidden: int
    out: int
    squeezed: int
    kernel: int
    stride: int
    expands: bool = True

    @property
    def has_shortcut(self) -> bool:
        """Whether a convolution changes the channels of the input for the residual sum."""
        return self.given != self.out

    def cost(self, height: int, width: int) -> Cost:
        """The cost on an input map of this height and width."""
        i, m, o, q, taps = self.given, self.hidden, self.out, self.squeezed, self.kernel**2
        before, after = height * width, _over(height, self.stride) * _over(width, self.stride)
        first, se = (i * m if self.expands else 0), (2 * m * q if q else 0)
        shortcut = i * o if self.has_shortcut else 0
        params = first + (2 * m if self.expands else 0) + (taps * m + 2 * m) + (m * o + 2 * o) + shortcut
        params += se + q + m if q else 0
        return Cost(params, before * first + after * (taps * m + m * o + shortcut) + se)

    def published_macs(self, height: int, width: int, is_reduction: bool) -> int:
        """Multiply-adds as the published code counts them."""
        i, m, o = self.given, self.hidden, self.out
        after = _over(height, self.stride) * _over(width, self.stride)
        found = after * (self.kernel**2 * m + m * o)
        found += after * self.stride**2 * i * m if self.expands else 0
        if not is_reduction:
            found += 2 * m * self.squeezed + (after * i * o if self.stride == 2 else 0)
        return found


@dataclass(frozen=True, slots=True)
class LayerShape:
    """An attention layer and its feed-forward layer: channels, those of values and hidden ones, side of the table."""

    channels: int
    values: int
    hidden: int
    table: int

    @property
    def heads(self) -> int:
        """Attention heads."""
        return self.channels // HEAD

    def cost(self, tokens: int) -> Cost:
        """The cost on this many tokens."""
        c, v, h = self.channels, self.values, self.hidden
        attention = c * (2 * c + v) + 9 * v + v * c
        params = 2 * c + attention + c + (2 * self.table - 1) ** 2 * self.heads
        params += 2 * c + (c * h + h) + (h * c + c)
        return Cost(params, tokens * (attention + 2 * c * h) + tokens**2 * (c + v))

    def published_macs(self, tokens: int) -> int:
        """Multiply-adds as the published code counts them."""
        c, v, h = self.channels, self.values, self.hidden
        return tokens * (c * (2 * c + v) + v + v * c + 2 * c * h) + tokens**2 * (c + v + self.heads)


def conv_shapes(of: Architecture, stage: int) -> Iterator[BlockShape]:
    """Yields the blocks of the stem (stage 0), C1 or C2."""
    for place, block in enumerate(of.convs[stage]):
        given, out = of.widths[stage if place or not stage else stage - 1], of.widths[stage]
        hidden = given * block.expand
        squeezed = hidden // _SQUEEZED if stage == CONVS - 1 else 0
        stride = 1 if place else STRIDES[stage]
        yield BlockShape(given, hidden, out, squeezed, block.kernel, stride, expands=stage > 0)


def reduction_shape(of: Architecture, stage: int) -> BlockShape:
    """The inverted residual before the first attention layer of a stage."""
    given, out = of.widths[stage - 1 : stage + 1]
    hidden = given * REDUCTION
    return BlockShape(given, hidden, out, hidden // _SQUEEZED, 3, STRIDES[stage])


def layer_shapes(of: Architecture, shape: NetworkShape, stage: int) -> Iterator[LayerShape]:
    """Yields the layers of an attention stage, without its reduction."""
    channels = of.widths[stage]
    for layer in of.attentions[stage - CONVS]:
        yield LayerShape(channels, channels * layer.value, int(channels * layer.mlp), shape.table(stage))


class StoredShapes:
    """The shapes of a network's layers; for a supernet those of its largest network, in the published layout.

    A supernet stores every layer of a stage for as many input channels as the stage has at most, and each inverted
    residual with a convolution for its shortcut.

    Args:
        of: the architecture, for a supernet the largest one.
        shape: what is not searched.
        shared: whether it is a supernet.
    """

    def __init__(self, of: Architecture, shape: NetworkShape, shared: bool = False) -> None:
        self._of, self._shape, self._shared = of, shape, shared
        # None: where the network needs one
        self.shortcut = True if shared else None

    def convs(self, stage: int) -> list[BlockShape]:
        """The blocks of the stem, C1 or C2."""
        found = list(conv_shapes(self._of, stage))
        if not self._shared:
            return found
        # every block of a stage is stored like the others, up to the stride of the first
        return [_widened(block, block.hidden // block.given) for block in found]

    def reduction(self, stage: int) -> BlockShape:
        """The inverted residual before an attention stage."""
        found = reduction_shape(self._of, stage)
        return _widened(found, found.hidden // found.given) if self._shared else found

    def layers(self, stage: int) -> list[LayerShape]:
        """The layers of an attention stage."""
        return list(layer_shapes(self._of, self._shape, stage))


def _widened(of: BlockShape, factor: int) -> BlockShape:
    hidden = of.out * factor
    return BlockShape(
        of.out, hidden, of.out, hidden // _SQUEEZED if of.squeezed else 0, of.kernel, of.stride, of.expands
    )


@lru_cache(maxsize=65536)
def path(of: Architecture, shape: NetworkShape) -> tuple[Step, ...]:
    """The steps of an architecture: the first convolution, the layers of each stage, and the levels.

    The first convolution is at the place (0, 0) and the stem behind it; a level is at the place after the last possible
    layer of its stage. The resolution is part of every step, since it affects the cost of each.
    """
    scale = f"r={of.resolution:g}"
    steps = [Step((0, 0), (of.resolution, of.widths[0]), f"first/{scale}/w={of.widths[0]}")]
    for stage in range(STAGES):
        head = f"stage{stage}/{scale}"
        if stage < CONVS:
            for place, block in enumerate(conv_shapes(of, stage)):
                what = (block.given, block.hidden, block.out, block.squeezed, block.kernel, block.stride)
                factor = block.hidden // block.given
                label = f"{head}/w={block.given}>{block.out}/k={block.kernel}/e={factor}"
                label = f"{label}/first" if block.stride > 1 else label
                steps.append(
                    Step((stage, place if stage else place + 1), (of.resolution, *what, stage > 0), label)
                )
        else:
            for place, layer in enumerate(layer_shapes(of, shape, stage)):
                given = 0 if place else of.widths[stage - 1]
                work = f"w={layer.channels}/m={layer.hidden / layer.channels:g}/v={layer.values // layer.channels}"
                label = f"{head}/{work}" if place else f"{head}/{work}/from={given}"
                steps.append(
                    Step(
                        (stage, place),
                        (of.resolution, given, layer.channels, layer.values, layer.hidden),
                        label,
                    )
                )
        if stage in LEVEL_STAGES:
            width = of.widths[stage]
            steps.append(
                Step((stage, shape.depths[stage]), (of.resolution, width), f"{head}/level/w={width}")
            )
    return tuple(steps)


def price(step: Step, shape: NetworkShape, size: Size) -> Cost:
    """The cost of a step for an image of `size` (height, width in pixels) before resizing."""
    found, (height, width) = _work(step, shape, size)
    if found is None:
        return Cost(0, 0)
    if isinstance(found, int):
        return Cost(27 * found + 2 * found, 27 * found * height * width)
    if isinstance(found, BlockShape):
        return found.cost(height, width)
    reduction, layer = found
    if reduction is None:
        return layer.cost(height * width)
    after = _over(height, reduction.stride) * _over(width, reduction.stride)
    return reduction.cost(height, width) + layer.cost(after)


def published_macs(step: Step, shape: NetworkShape, size: Size) -> int:
    """Multiply-adds of a step as the published code counts them; those of the head are with the last level."""
    found, (height, width) = _work(step, shape, size)
    if found is None:
        return (
            head_cost(int(step.choice[1]), (height, width), CLASSES).macs if step.at[0] == STAGES - 1 else 0
        )
    if isinstance(found, int):
        return 27 * found * height * width
    if isinstance(found, BlockShape):
        return found.published_macs(height, width, is_reduction=False)
    reduction, layer = found
    if reduction is None:
        return layer.published_macs(height * width)
    after = _over(height, reduction.stride) * _over(width, reduction.stride)
    return reduction.published_macs(height, width, is_reduction=True) + layer.published_macs(after)


def head_cost(channels: int, map_size: Size, classes: int) -> Cost:
    """The cost of the published head (`nn/expanded_classifier.py`) on a map of the last stage."""
    wide, tokens = channels * EXPAND, map_size[0] * map_size[1]
    params = (channels * wide + wide) + 2 * wide + (wide * MIX + MIX) + (MIX * classes + classes)
    return Cost(params, tokens * channels * wide + wide * MIX + MIX * classes)


def map_size(own: Size, stage: int) -> Size:
    """Height and width of the maps of a stage, for images that are read at size `own`."""
    height, width = (_over(side, 2) for side in own)
    for stride in STRIDES[: stage + 1]:
        height, width = _over(height, stride), _over(width, stride)
    return height, width


_Work = int | BlockShape | tuple[BlockShape | None, LayerShape] | None


def _work(step: Step, shape: NetworkShape, size: Size) -> tuple[_Work, Size]:
    """What a step computes, and the size of the map that it reads; for the first convolution of that which it makes.

    The channels of the first convolution, an inverted residual, or a reduction and an attention layer; None: a level.
    """
    resolution, *numbers = step.choice
    (stage, place), own = step.at, input_size(float(resolution), size)
    if stage in LEVEL_STAGES and place == shape.depths[stage]:
        return None, map_size(own, stage)
    if stage == 0:
        whole = map_size(own, 0)
        return (int(numbers[0]) if place == 0 else _block(numbers)), whole
    reads = map_size(own, stage if place else stage - 1)
    if stage < CONVS:
        return _block(numbers), reads
    given, channels, values, hidden = map(int, numbers)
    layer = LayerShape(channels, values, hidden, shape.table(stage))
    if place:
        return (None, layer), reads
    inner = given * REDUCTION
    return (BlockShape(given, inner, channels, inner // _SQUEEZED, 3, STRIDES[stage]), layer), reads


def _block(numbers: list[Any]) -> BlockShape:
    given, hidden, out, squeezed, kernel, stride, expands = map(int, numbers)
    return BlockShape(given, hidden, out, squeezed, kernel, stride, bool(expands))


def description(of: Architecture, shape: NetworkShape) -> dict[str, Any]:
    """An architecture and what is not searched, as JSON data; see `families.restore`."""
    return {"family": "elasticvit", "architecture": asdict(of), "network": asdict(shape)}


def rising_rates(depths: tuple[int, ...], highest: float) -> list[list[float]]:
    """Rates of stochastic depth of each layer: linear over all layers of the network, and 0 before T3."""
    starts = [0, *accumulate(depths)]
    last = max(1, starts[-1] - 1)
    return [
        [highest * (starts[stage] + place) / last if stage >= STAGES - 2 else 0.0 for place in range(depth)]
        for stage, depth in enumerate(depths)
    ]


def _over(side: int, stride: int) -> int:
    # a convolution that is padded by half its kernel rounds up
    return -(-side // stride)
