"""Networks of TransNAS-Bench-101 (Duan et al., CVPR 2021), of both its spaces.

Micro, `64-41414-a_bc_def`, varies the cell: behind a stem at stride 4 with 64 channels stand five pairs of equal cells;
the first, third and fifth pair halve the resolution and double the channels. Macro, `64-<digits>-basic`, varies the
skeleton: behind the same stem stand four to six modules of residual blocks (`transnas_macro.py`). Each of the seven
tasks has its head. Parameters equal those of the benchmark's tables.
Legend: B batch, N images, T tiles, C channels, H W space.
"""

import re
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.cells.cell import Cell, Zero, convolved
from evonas.nn.cells.decoders import generation_decoder, segmentation_decoder
from evonas.nn.cells.nb201 import check_words
from evonas.nn.cells.transnas_macro import MODULES, KaimingConv2d, macro_encoder
from evonas.nn.initialise import uninitialised

WORDS = ("none", "skip", "conv1x1", "conv3x3")
STEM = 64
# how often the stem halves the resolution
STEM_HALVINGS = 2
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
TILES, COLOURS = 9, 3
_MICRO_NAME = re.compile(r"64-41414-([0-3])_([0-3]{2})_([0-3]{3})")
_MACRO_NAME = re.compile(r"64-([1-4]{4,6})-basic")


class TransNASNet(nn.Module):
    """A network of either space for one task, with random weights.

    Args:
        words: of micro the operations of the edges 0->1, 0->2, 1->2, 0->3, 1->3, 2->3; of macro the modules, `none`
            where one is absent; or the benchmark's name of a network of either.
        task: one of `OUTPUTS`.
        seed: seed of the weights; None leaves them uninitialised.

    Attributes:
        stride: pixels of the input for one position of the head's input, 32 for micro and 8 to 64 for macro.
        tiles: what stands before the channels in a shape of the input: (9,) for jigsaw, () for all other tasks.

    Raises:
        UserError: the words are not a network of either space, or the task is unknown.
    """

    def __init__(
        self, words: Sequence[str] | str, task: str = "segmentsemantic", seed: int | None = 0
    ) -> None:
        super().__init__()
        words = words_of_name(words) if isinstance(words, str) else words
        if task not in OUTPUTS:
            raise UserError(
                f"task={task} is unknown in TransNAS-Bench-101.", f"Choose among {', '.join(OUTPUTS)}."
            )
        self.task, self.tiles = task, (TILES,) if task == "jigsaw" else ()
        is_macro = bool(set(words) & set(MODULES))
        with uninitialised(self, seed):
            self.stem = _stem(KaimingConv2d if is_macro else _convolution)
            parts, width, halvings = (macro_encoder if is_macro else _micro_encoder)(words, STEM)
            self.cells = nn.Sequential(*parts)
            self.stride = 2 ** (STEM_HALVINGS + halvings)
            self.head = _head(task, width, STEM_HALVINGS + halvings)

    def maps(self, x: Float[Tensor, "B ... _ H W"]) -> Float[Tensor, "N C h w"]:
        """The input of the task's head, at the network's stride; N counts all tiles of all images.

        Raises:
            UserError: the images do not have three colours, or not the tiles of the task.
        """
        if x.shape[1:-2] != (*self.tiles, COLOURS):
            shape = ", ".join(map(str, ("B", *self.tiles, COLOURS, "H", "W")))
            what = "batches of nine tiles" if self.tiles else "whole images"
            raise UserError(
                f"The task {self.task} needs {what}, got the shape {tuple(x.shape)}.", f"Give ({shape})."
            )
        return self.cells(self.stem(x.flatten(0, -4)))

    def forward(self, x: Float[Tensor, "B ... _ H W"]) -> Float[Tensor, "B ..."]:
        """Logits or images, from tiles (B 9 3 H W) for jigsaw and images (B 3 H W) for all other tasks.

        Dense tasks need sides that are multiples of the network's stride.

        Raises:
            UserError: the images do not have three colours, or not the tiles of the task.
        """
        maps = self.maps(x)
        return self.head(maps.mean((2, 3)).unflatten(0, (-1, TILES)).flatten(1) if self.tiles else maps)


def words_of_name(name: str) -> tuple[str, ...]:
    """The words of a network by the benchmark's name, `64-41414-a_bc_def` (micro) or `64-<digits>-basic` (macro).

    Raises:
        UserError: the text is not such a name.
    """
    if found := _MICRO_NAME.fullmatch(name):
        return tuple(WORDS[int(digit)] for digit in "".join(found.groups()))
    if found := _MACRO_NAME.fullmatch(name):
        return tuple(MODULES[int(digit) - 1] for digit in found[1])
    raise UserError(
        f"{name!r} is not the name of a network of TransNAS-Bench-101.",
        "Names are 64-41414-a_bc_def with digits from 0 to 3, and 64-<4 to 6 digits from 1 to 4>-basic.",
    )


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


def _stem(convolution: Callable[[int, int, int, int], nn.Module]) -> nn.Sequential:
    half = STEM // 2
    return nn.Sequential(
        convolution(COLOURS, half, 3, 2),
        nn.BatchNorm2d(half),
        nn.ReLU(),
        convolution(half, STEM, 3, 2),
        nn.BatchNorm2d(STEM),
    )


def _convolution(c_in: int, c_out: int, kernel: int, stride: int) -> nn.Module:
    return nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)


def _micro_encoder(words: Sequence[str], width: int) -> tuple[list[nn.Module], int, int]:
    """The cells behind the stem, the channels of their output, and how often they halve the resolution."""
    check_words(words, WORDS, "TransNAS-Bench-101 micro")
    cells: list[nn.Module] = []
    for halves in PAIRS:
        cells.append(_cell(words, width, 2 if halves else 1))
        width *= 2 if halves else 1
        cells += [_cell(words, width, 1) for _ in range(CELLS - 1)]
    return cells, width, sum(PAIRS)


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


def _head(task: str, width: int, doublings: int) -> nn.Module:
    outputs = OUTPUTS[task]
    if task == "segmentsemantic":
        return segmentation_decoder(width, outputs, doublings)
    if task in ("normal", "autoencoder"):
        return generation_decoder(width, outputs, doublings)
    if task == "jigsaw":
        return nn.Linear(TILES * width, outputs)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, outputs))
