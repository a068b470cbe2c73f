"""Networks of NAS-Bench-201 (Dong and Yang, ICLR 2020, section 2 and figure 1).

They have a stem of 16 channels and three stages of five equal cells; a residual block between stages halves the
resolution and doubles the channels. Parameters and FLOPs equal those of the benchmark's tables.
Legend: B batch, H W space.
"""

from collections.abc import Sequence
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.cells.cell import EDGES, Cell, Zero, convolved
from evonas.nn.initialise import uninitialised

WORDS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
STEM, STAGES, CELLS = 16, 3, 5
# number of classes of each data set
CLASSES = {"c10": 10, "c100": 100, "in16": 120}


class NB201Net(nn.Module):
    """A network of the space with random weights.

    Args:
        words: operations of the edges 0->1, 0->2, 1->2, 0->3, 1->3, 2->3.
        dataset: data set of the classes: c10, c100 or in16.
        seed: seed of the weights; None leaves them uninitialised.

    Raises:
        UserError: the words are not six operations of the space, or the data set is unknown.
    """

    def __init__(self, words: Sequence[str], dataset: str = "c10", seed: int | None = 0) -> None:
        super().__init__()
        check_words(words, WORDS, "NAS-Bench-201")
        if dataset not in CLASSES:
            raise UserError(
                f"dataset={dataset} is unknown in NAS-Bench-201.", f"Choose among {', '.join(CLASSES)}."
            )
        widths = [STEM * 2**stage for stage in range(STAGES)]
        blocks: list[nn.Module] = []
        with uninitialised(self, seed):
            self.stem = nn.Sequential(nn.Conv2d(3, STEM, 3, padding=1, bias=False), nn.BatchNorm2d(STEM))
            for width in widths:
                if width > STEM:
                    blocks.append(_Reduction(width // 2, width))
                blocks += [Cell(words, partial(_edge, width=width)) for _ in range(CELLS)]
            self.blocks = nn.Sequential(*blocks)
            self.last = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU())
            self.classify = nn.Linear(widths[-1], CLASSES[dataset])

    def maps(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """The maps before global average pooling."""
        return self.last(self.blocks(self.stem(x)))

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B classes"]:
        """Logits; in the benchmark H = W = 32, or 16 for ImageNet16-120."""
        return self.classify(self.maps(x).mean((2, 3)))


class _Reduction(nn.Module):
    """The residual block between stages: two 3x3 convolutions; the shortcut is average pooling and a 1x1."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(convolved(c_in, c_out, 3, 2), convolved(c_out, c_out, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.body(x)


def _edge(word: str, start: int, width: int) -> nn.Module:
    del start  # all edges of this benchmark have stride 1
    if word == "none":
        return Zero(width)
    if word == "skip_connect":
        return nn.Identity()
    if word == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)
    return convolved(width, width, 1 if word == "nor_conv_1x1" else 3)


def check_words(words: Sequence[str], known: Sequence[str], space: str) -> None:
    """Raises a UserError unless every edge has an operation of the space."""
    if len(words) != len(EDGES) or set(words) - set(known):
        raise UserError(
            f"{','.join(map(str, words))} is not a cell of {space}.",
            f"A cell has {len(EDGES)} operations among {', '.join(known)}.",
        )
