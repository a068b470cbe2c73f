"""Steps of NAS-Bench-201's networks, and their exact parameters and multiply-adds in closed form. Torch-free.

Multiply-adds count convolutions; norms, activations, sums and pooling are excluded. The formulas are those of the
layers in `backbone.py`; tests compare them with counted networks. Nodes 0 to 3 of a cell are its input, two sums, and
its output; six edges join each node to all later ones.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from evonas.nn.level import Level
from evonas.supernets.base import Cost
from evonas.supernets.step import Place, Size, Step

WORDS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NONE = WORDS[0]
KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
# (source, target) nodes, in the order of a network's words
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OUTPUT = 3
STAGES = 3
STEM: Place = (0, 0, 0)
END: Place = (STAGES + 1, 0, 0)


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """The sizes that are not searched.

    Args:
        channels: channels of the stem and of the first stage; they double from stage to stage.
        cells: number of equal cells of each stage.
    """

    channels: int
    cells: int

    def width(self, stage: int) -> int:
        """Channels of a stage, counted from 1."""
        return self.channels * 2 ** (stage - 1)

    @property
    def levels(self) -> tuple[Level, ...]:
        """The output of each stage."""
        return tuple(Level(self.width(stage), 2 ** (stage - 1)) for stage in range(1, STAGES + 1))


@lru_cache(maxsize=65536)
def path(words: tuple[str, ...], shape: NetworkShape) -> tuple[Step, ...]:
    """The steps of a cell: the stem, then the reduction and the edges of the cells of each stage, and the last norm.

    Places are (stage, cell, edge), counted from 1, 1 and 0; a reduction is at cell 0 of its stage.
    """
    steps = [Step(STEM)]
    for stage in range(1, STAGES + 1):
        if stage > 1:
            steps.append(Step((stage, 0, 0)))
        steps += [
            Step((stage, cell, edge), (word,), f"stage{stage}/{word}")
            for cell in range(1, shape.cells + 1)
            for edge, word in enumerate(words)
        ]
    return (*steps, Step(END))


def price(step: Step, shape: NetworkShape, size: Size) -> Cost:
    """The cost of a step for an image of `size` (height, width in pixels)."""
    stage, cell, _ = step.at
    if step.at == STEM:
        return _convolution(3, shape.channels, 3, size)
    if step.at == END:
        return Cost(2 * shape.width(STAGES), 0)
    width = shape.width(stage)
    for _ in range(stage - 1):
        # a convolution that is padded by half its kernel rounds up
        size = -(-size[0] // 2), -(-size[1] // 2)
    if cell == 0:
        shortcut = Cost(width // 2 * width, width // 2 * width * size[0] * size[1])
        return _convolution(width // 2, width, 3, size) + _convolution(width, width, 3, size) + shortcut
    kernel = KERNELS.get(str(step.choice[0]))
    return Cost(0, 0) if kernel is None else _convolution(width, width, kernel, size)


def _convolution(given: int, out: int, kernel: int, size: Size) -> Cost:
    """A convolution without bias and its norm, by the size of its output."""
    weights = given * out * kernel**2
    return Cost(weights + 2 * out, weights * size[0] * size[1])


def description(words: tuple[str, ...], shape: NetworkShape) -> dict[str, Any]:
    """A cell and the sizes that are not searched, as JSON data; see `families.restore`."""
    return {"family": "nb201_cell", "architecture": {"words": list(words)}, "network": asdict(shape)}
