"""Steps of FasterSeg's networks, and their exact parameters and multiply-adds in closed form. Torch-free.

Multiply-adds count convolutions; norms, activations and interpolation are excluded. The formulas are those of the
layers in `backbone.py` and `nn/fcn_head.py`; tests compare them with counted networks and with the numbers of the
published ones.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from evonas.nn.level import Level
from evonas.supernets.base import Cost
from evonas.supernets.fasterseg.space import STRIDE, Architecture, Cell
from evonas.supernets.step import Size, Step

# sides at which networks read images are multiples of this: operators on half of a map at stride 32 need whole halves
MULTIPLE = 64
# first entry of places, in the order of execution: stem, cells of both branches, those of each alone, and the end
STEM, COMMON, FIRST, SECOND, END = range(5)


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """What is not searched.

    Args:
        layers: number of layers.
        targets: scale of the last map of each branch.
        base: channels of the whole width (12 twelfths) at stride 1, by which all others are multiplied.
        stem_width: width of the stem in twelfths.
        head_width: width of what the branches give, in twelfths.
        widest: the greatest width of a cell in twelfths.
    """

    layers: int
    targets: tuple[int, int]
    base: int
    stem_width: int
    head_width: int
    widest: int

    def channels(self, stride: int, width: int) -> int:
        """The channels of a map of this stride and width in twelfths."""
        return round(stride * self.base * width / 12)

    def at(self, scale: int, width: int) -> int:
        """The channels of a map of a scale."""
        return self.channels(STRIDE << scale, width)

    @property
    def stem(self) -> tuple[int, int, int]:
        """Channels of the stem at strides 2, 4 and 8."""
        return (
            2 * self.channels(2, self.stem_width),
            2 * self.channels(4, self.stem_width),
            self.channels(8, self.stem_width),
        )

    @property
    def fused(self) -> int:
        """Channels of the finest level, which joins both branches."""
        return len(self.targets) * self.at(0, self.head_width)

    @property
    def levels(self) -> tuple[Level, ...]:
        """The joined branches at stride 8, and what auxiliary heads read at strides 16 and 32.

        At stride 16 these are the last map of the first branch at this stride, followed by zeros up to the greatest
        width, and the output of the second branch if it ends there.
        """
        middle = self.at(1, self.widest) + (self.at(1, self.head_width) if self.targets[1] == 1 else 0)
        return (
            Level(self.fused, 8),
            Level(middle, 16),
            Level(self.at(2, self.head_width), 32),
        )

    def cell(self, cell: Cell, before: Cell | None) -> "CellShape":
        """The shape of a cell behind another one of its branch; None: behind the stem."""
        given = self.stem[-1] if before is None else self.at(cell.scale, before.width or 0)
        out = self.at(cell.next_scale, self.head_width if cell.width is None else cell.width)
        return CellShape(cell.operator, cell.scale, cell.is_down, given, out)


@dataclass(frozen=True, slots=True)
class CellShape:
    """Operator, scale, whether it halves the map, input and output channels of a cell."""

    operator: str
    scale: int
    is_down: bool
    given: int
    out: int

    @property
    def is_zoomed(self) -> bool:
        """Whether the convolutions run on half of the map."""
        return self.operator.startswith("zoom")

    @property
    def is_double(self) -> bool:
        """Whether there are two convolutions."""
        return self.operator.endswith("2")

    @property
    def label(self) -> str:
        """The label of its step."""
        down = "/down" if self.is_down else ""
        return f"s{STRIDE << self.scale}/{self.operator}/{self.given}>{self.out}{down}"

    def cost(self, size: Size) -> Cost:
        """The cost for an image of `size`, a multiple of 64."""
        side = (STRIDE << self.scale) * (2 if self.is_zoomed or self.is_down else 1)
        return conv_cost(3, self.given, self.out, size, side) + (
            conv_cost(3, self.out, self.out, size, side) if self.is_double else Cost(0, 0)
        )


def conv_cost(kernel: int, given: int, out: int, size: Size, stride: int) -> Cost:
    """The cost of a convolution without bias and its norm, whose output has a stride in an image of `size`."""
    weights = kernel**2 * given * out
    return Cost(weights + 2 * out, weights * (size[0] // stride) * (size[1] // stride))


def shapes(of: Architecture, shape: NetworkShape, branch: int) -> list[CellShape]:
    """The shapes of a branch's cells."""
    cells = of.branches[branch]
    return [shape.cell(cell, before) for cell, before in zip(cells, (None, *cells), strict=False)]


def joined(of: Architecture, shape: NetworkShape, branch: int) -> tuple[int, ...]:
    """Input channels of a branch's halving cells, finest first: the maps that its output is joined with."""
    return tuple(each.given for each in shapes(of, shape, branch) if each.is_down)


@lru_cache(maxsize=65536)
def path(of: Architecture, shape: NetworkShape) -> tuple[Step, ...]:
    """The steps: stem, common cells, the rest of the first branch, the rest of the second one, and the end.

    A branch ends at the place behind its last layer, where its output is joined with its finer maps.
    """
    steps = [Step((STEM, 0))]
    for branch, place in enumerate((FIRST, SECOND)):
        for at, (cell, of_cell) in enumerate(
            zip(of.branches[branch], shapes(of, shape, branch), strict=True)
        ):
            if at >= of.shared:
                steps.append(_step(place, cell, of_cell))
            elif branch == 0:
                steps.append(_step(COMMON, cell, of_cell))
        channels = joined(of, shape, branch)
        label = f"join/s{STRIDE << of.targets[branch]}/{','.join(map(str, channels))}"
        steps.append(Step((place, shape.layers), channels, label))
    return (*steps, Step((END, 0)))


def _step(place: int, cell: Cell, of: CellShape) -> Step:
    what = (of.operator, of.scale, int(of.is_down), of.given, of.out)
    return Step((place, cell.layer), what, of.label)


def price(step: Step, shape: NetworkShape, size: Size) -> Cost:
    """The cost of a step for an image of `size` (height, width in pixels) before resizing."""
    size = input_size(size)
    place, layer = step.at
    if place == STEM:
        return sum_of(stem_costs(shape, size))
    if place == END:
        return conv_cost(1, shape.fused, shape.fused, size, STRIDE)
    if layer == shape.layers:
        target = shape.targets[place - FIRST]
        return sum_of(join_costs(target, shape, tuple(map(int, step.choice)), size))
    operator, scale, is_down, given, out = step.choice
    return CellShape(str(operator), int(scale), bool(is_down), int(given), int(out)).cost(size)


def stem_costs(shape: NetworkShape, size: Size) -> Iterator[Cost]:
    """Yields the cost of each convolution of the stem."""
    one, two, three = shape.stem
    layers = ((3, one, 2), (one, two, 4), (two, two, 4), (two, three, 8), (three, three, 8))
    for given, out, stride in layers:
        yield conv_cost(3, given, out, size, stride)


def join_costs(target: int, shape: NetworkShape, channels: tuple[int, ...], size: Size) -> Iterator[Cost]:
    """Yields the cost of each convolution that joins a branch's output with its finer maps, coarsest first."""
    for scale in reversed(range(target)):
        given, out = shape.at(scale + 1, shape.head_width), shape.at(scale, shape.head_width)
        yield conv_cost(1, given, out, size, STRIDE << (scale + 1))
        yield conv_cost(3, out + channels[scale], out, size, STRIDE << scale)


def sum_of(costs: Iterator[Cost]) -> Cost:
    """The sum of costs."""
    return sum(costs, Cost(0, 0))


def input_size(size: Size) -> Size:
    """The size to which an image is resized: the next multiples of 64."""
    height, width = (-(-side // MULTIPLE) * MULTIPLE for side in size)
    return height, width


def head_cost(channels: int, classes: int, size: Size, stride: int) -> Cost:
    """The cost of one head of `nn/fcn_head.py` on a map of these channels and this stride."""
    middle = hidden(channels)
    pixels = (size[0] // stride) * (size[1] // stride)
    return conv_cost(3, channels, middle, size, stride) + Cost(
        (middle + 1) * classes, middle * classes * pixels
    )


def hidden(channels: int) -> int:
    """Channels between both convolutions of a head."""
    return channels if channels <= 256 else channels // 2


def description(of: Architecture, shape: NetworkShape) -> dict[str, Any]:
    """An architecture and what is not searched, as JSON data; see `families.restore`."""
    return {"family": "fasterseg", "architecture": asdict(of), "network": asdict(shape)}
