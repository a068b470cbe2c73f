"""Encoders of TransNAS-Bench-101's skeleton space, macro (Duan et al., CVPR 2021): `64-<digits>-basic`.

The digits are four to six modules: 1 `normal` keeps the size, 2 `channel` doubles the channels, 3 `resolution` halves
the resolution and 4 `both` does both. A module has two residual blocks, of which the first changes the size.
Legend: N images, H W space.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.residual import ResidualBlock
from evonas.space.chain import Limit

# in the order of the digits 1 to 4
MODULES = ("normal", "channel", "resolution", "both")
ABSENT = "none"
LENGTHS = (4, 6)
HALVINGS = Limit("halvings", ("resolution", "both"), 1, 4)
DOUBLINGS = Limit("doublings", ("channel", "both"), 1, 3)
BLOCKS = 2


class KaimingConv2d(nn.Conv2d):
    """A convolution without bias that keeps the size at stride 1, initialised as the benchmark's encoders.

    Args:
        c_in: channels of the input.
        c_out: channels of the output.
        kernel: odd side of the kernel.
        stride: stride in both directions.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)

    def draw_weights(self, generator: torch.Generator) -> None:
        """Normal weights whose variance is 2 / fan out (He et al., ICCV 2015)."""
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu", generator=generator)


class MacroBlock(ResidualBlock):
    """A residual block whose branch begins with ReLU; a change of size projects the shortcut.

    The authors give the projection's batch norm eps = 1 and momentum = 1 by a slip of positional arguments; here it
    has 1e-5 and 0.1 as all others. Parameters and operations are the same.

    Args:
        c_in: channels of the input.
        c_out: channels of the output.
        stride: 1 or 2.
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.ReLU(),
            KaimingConv2d(c_in, c_out, 3, stride),
            nn.BatchNorm2d(c_out),
            nn.ReLU(),
            KaimingConv2d(c_out, c_out, 3),
            nn.BatchNorm2d(c_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or c_in != c_out:
            self.shortcut = nn.Sequential(KaimingConv2d(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out))

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C_out H_out W_out"]:
        """The sum of branch and shortcut."""
        return self.shortcut(x) + self.drop(self.branch(x))


def modules_of(words: Sequence[str]) -> tuple[str, ...]:
    """The modules of a network, without absent ones.

    Args:
        words: four to six of `MODULES`; `none` stands for a module that is absent.

    Raises:
        UserError: the words are not one of the benchmark's 3256 networks.
    """
    found = tuple(word for word in words if word != ABSENT)
    limits = (Limit("modules", MODULES, *LENGTHS), HALVINGS, DOUBLINGS)
    faults = [f"the module {word} is unknown" for word in found if word not in MODULES]
    for limit in limits:
        number = sum(word in limit.words for word in found)
        if not limit.least <= number <= limit.most:
            faults.append(f"it has {number} {limit.name}")
    if faults:
        raise UserError(
            f"{','.join(map(str, words))} is not a network of TransNAS-Bench-101 macro: {faults[0]}.",
            f"A network has {', '.join(limit.rule for limit in limits)}.",
        )
    return found


def macro_encoder(words: Sequence[str], width: int) -> tuple[list[nn.Module], int, int]:
    """The modules behind the stem, the channels of their output, and how often they halve the resolution.

    Args:
        words: see `modules_of`.
        width: channels of the stem.

    Raises:
        UserError: the words are not a network.
    """
    modules, halvings = list[nn.Module](), 0
    for word in modules_of(words):
        wide, halves = width * (1 + (word in DOUBLINGS.words)), word in HALVINGS.words
        blocks = [MacroBlock(width, wide, 1 + halves), *(MacroBlock(wide, wide) for _ in range(BLOCKS - 1))]
        modules.append(nn.Sequential(*blocks))
        width, halvings = wide, halvings + halves
    return modules, width, halvings
