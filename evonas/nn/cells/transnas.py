"""Networks of TransNAS-Bench-101's cell space, micro (Duan et al., CVPR 2021): `64-41414-a_bc_def`.

They have a stem at stride 4 with 64 channels and five pairs of equal cells; the first, third and fifth pair halve the
resolution and double the channels. Each of the seven tasks has its head. Parameters equal those of the benchmark's
tables.
Legend: B batch, T tiles, H W space.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.cells.cell import Cell, Zero, convolved
from evonas.nn.cells.decoders import generation_decoder, segmentation_decoder
from evonas.nn.cells.nb201 import check_words
from evonas.nn.initialise import uninitialised

WORDS = ("none", "skip", "conv1x1", "conv3x3")
STEM = 64
# whether a pair of cells halves the resolution and doubles the channels
PAIRS = (True, False, True, False, True)
CELLS = 2
# output channels of each task
OUTPUTS = {
    "class_scene": 63,
    "class_object": 100,
    "room_layout": 9,
    "jigsaw": 1000,
    "segmentsemantic": 17,
    "normal": 3,
    "autoencoder": 3,
}
TILES = 9
# dimensions of a batch of tiles
_WITH_TILES = 5


class TransNASNet(nn.Module):
    """A network of the space for one task, with random weights.

    Args:
        words: operations of the edges 0->1, 0->2, 1->2, 0->3, 1->3, 2->3.
        task: one of `OUTPUTS`.
        seed: seed of the weights; None leaves them uninitialised.

    Raises:
        UserError: the words are not six operations of the space, or the task is unknown.
    """

    def __init__(self, words: Sequence[str], task: str = "segmentsemantic", seed: int | None = 0) -> None:
        super().__init__()
        check_words(words, WORDS, "TransNAS-Bench-101 micro")
        if task not in OUTPUTS:
            raise UserError(
                f"task={task} is unknown in TransNAS-Bench-101.", f"Choose among {', '.join(OUTPUTS)}."
            )
        self.task = task
        half, cells, width = STEM // 2, list[Cell](), STEM
        with uninitialised(self, seed):
            self.stem = nn.Sequential(
                nn.Conv2d(3, half, 3, 2, padding=1, bias=False),
                nn.BatchNorm2d(half),
                nn.ReLU(),
                nn.Conv2d(half, STEM, 3, 2, padding=1, bias=False),
                nn.BatchNorm2d(STEM),
            )
            for halves in PAIRS:
                cells.append(_cell(words, width, 2 if halves else 1))
                width *= 2 if halves else 1
                cells += [_cell(words, width, 1) for _ in range(CELLS - 1)]
            self.cells = nn.Sequential(*cells)
            self.head = _head(task, width)

    def maps(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N C h w"]:
        """The input of the task's head, at stride 32."""
        return self.cells(self.stem(x))

    def forward(self, x: Float[Tensor, "B ... 3 H W"]) -> Float[Tensor, "B ..."]:
        """Logits or images, from tiles (B 9 3 H W) for jigsaw and images (B 3 H W) for all other tasks.

        Dense tasks need sides that are multiples of 32.

        Raises:
            UserError: jigsaw is given whole images.
        """
        if self.task != "jigsaw":
            return self.head(self.maps(x))
        if x.ndim != _WITH_TILES:
            raise UserError(
                "The task jigsaw needs batches of nine tiles, got whole images.",
                "Choose another data.dataset, such as class_scene.",
            )
        maps = self.maps(x.flatten(0, 1))
        return self.head(maps.mean((2, 3)).unflatten(0, (-1, TILES)).flatten(1))


class _FactorizedReduce(nn.Module):
    """A skip with stride 2: two concatenated 1x1 convolutions, one pixel apart (DARTS, arXiv 1806.09055)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.even = nn.Conv2d(c_in, c_out // 2, 1, 2, bias=False)
        self.odd = nn.Conv2d(c_in, c_out // 2, 1, 2, bias=False)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        shifted = nn.functional.pad(x[:, :, 1:, 1:], (0, 1, 0, 1))
        return self.norm(torch.cat([self.even(x), self.odd(shifted)], 1))


def _cell(words: Sequence[str], width: int, stride: int) -> Cell:
    """A cell whose edges from the input have the stride and multiply channels by it."""

    def edge(word: str, start: int) -> nn.Module:
        return _edge(word, width, width * stride, stride) if start == 0 else _edge(word, wide, wide, 1)

    wide = width * stride
    return Cell(words, edge)


def _edge(word: str, c_in: int, c_out: int, stride: int) -> nn.Module:
    if word == "none":
        return Zero(c_out, stride)
    if word == "skip":
        return nn.Identity() if stride == 1 else _FactorizedReduce(c_in, c_out)
    return convolved(c_in, c_out, 1 if word == "conv1x1" else 3, stride)


def _head(task: str, width: int) -> nn.Module:
    outputs = OUTPUTS[task]
    if task == "segmentsemantic":
        return segmentation_decoder(width, outputs)
    if task in ("normal", "autoencoder"):
        return generation_decoder(width, outputs)
    if task == "jigsaw":
        return nn.Linear(TILES * width, outputs)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, outputs))
