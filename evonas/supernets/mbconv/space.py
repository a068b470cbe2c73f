"""The search space of MBConv, and conversion of its genotypes to architectures.

There is one resolution, a width and a depth per stage, and a kernel and an expansion per block. Blocks are numbered
over all stages; genes of blocks beyond the depth of their stage are not expressed (as in Once-for-All, arXiv
1908.09791).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from evonas.errors import UserError
from evonas.space.genotype import Genotype
from evonas.space.space import Axis, Space

_GROUPS = {"resolution": "r", "width": "w", "depth": "d", "kernel": "k", "expand": "e"}
_HINT = "Leave space= out: a network brings its own. Or choose space=nano_cnn or one of mbconv_space."


@dataclass(frozen=True, slots=True)
class BlockChoice:
    """The choices of a block: kernel size, and hidden channels divided by input channels."""

    kernel: int
    expand: float


@dataclass(frozen=True, slots=True)
class StageChoice:
    """The choices of a stage: output channels of its blocks, and the active blocks."""

    width: int
    blocks: tuple[BlockChoice, ...]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoded genotype.

    Args:
        resolution: scale factor of the images' sides.
        stages: choices of each stage.
    """

    resolution: float
    stages: tuple[StageChoice, ...]


def mbconv_space(
    name: str = "mbconv",
    widths: Sequence[Sequence[int]] = ((16, 24, 32), (24, 40, 56), (48, 64, 80), (64, 88, 112)),
    depths: Sequence[Sequence[int]] = ((1, 2, 3), (1, 2, 3, 4), (1, 2, 3, 4), (1, 2)),
    kernels: Sequence[int] = (3, 5),
    expand: Sequence[float] = (2, 4, 6),
    resolutions: Sequence[float] = (0.5, 0.75, 1.0),
) -> Space:
    """The space with the layout r1, w of every stage, d of every stage, k of every block, e of every block.

    Args:
        name: name of the space.
        widths: output channels of the blocks of each stage.
        depths: numbers of blocks of each stage.
        kernels: odd sizes of the depthwise kernels.
        expand: hidden channels of a block divided by its input channels.
        resolutions: scale factors of the images' sides, at most 1.

    Raises:
        UserError: the choices are invalid.
    """
    if not depths or len(depths) != len(widths):
        raise UserError(
            f"space.widths has {len(widths)} stages and space.depths has {len(depths)}.",
            "Give both one list per stage.",
        )
    if any(int(side) != side or side < 1 or side % 2 == 0 for side in kernels):
        raise UserError(f"space.kernels must be odd, got {list(kernels)}.", "Try space.kernels=[3,5].")
    if any(not 0 < each <= 1 for each in resolutions):
        raise UserError(
            f"space.resolutions must be in (0, 1], got {list(resolutions)}.",
            "Try space.resolutions=[0.5,0.75,1.0].",
        )
    for key, lists in (("widths", widths), ("depths", depths), ("expand", [expand])):
        if any(not each or min(each) < 1 for each in lists):
            raise UserError(
                f"space.{key} must hold numbers from 1, got {list(lists)}.", "See conf/space/nano_cnn.yaml."
            )
    axes = [Axis("r1", tuple(map(float, resolutions)))]
    stages = range(1, len(depths) + 1)
    axes += [Axis(f"w{stage}", tuple(map(int, given))) for stage, given in zip(stages, widths, strict=True)]
    axes += [Axis(f"d{stage}", tuple(map(int, given))) for stage, given in zip(stages, depths, strict=True)]
    expressed = _expressed(depths)
    numbers = range(1, len(expressed) + 1)
    sides, factors = tuple(map(int, kernels)), tuple(map(float, expand))
    axes += [Axis(f"k{at}", sides, by) for at, by in zip(numbers, expressed, strict=True)]
    axes += [Axis(f"e{at}", factors, by) for at, by in zip(numbers, expressed, strict=True)]
    return Space(name, tuple(axes), groups=_GROUPS)


def depths_of(space: Space) -> tuple[int, ...]:
    """The maximum number of blocks of each stage.

    Raises:
        UserError: the space does not have the layout of `mbconv_space`.
    """
    axes = {axis.name: axis for axis in space.axes}
    depths = [axis.choices for name, axis in axes.items() if name.startswith("d")]
    stages = range(1, len(depths) + 1)
    try:
        expressed = _expressed([[int(choice) for choice in each] for each in depths])
    except ValueError:
        expressed = []
    wanted: dict[str, str | None] = {
        "r1": None,
        **{f"{prefix}{stage}": None for stage in stages for prefix in "wd"},
    }
    wanted |= {f"{prefix}{at}": by for at, by in enumerate(expressed, start=1) for prefix in "ke"}
    if space.bits or not expressed or {name: axis.expressed_by for name, axis in axes.items()} != wanted:
        raise UserError(
            f"Space {space.name} is not one of inverted residuals: its genes are {', '.join(space.spans)}.",
            _HINT,
        )
    return tuple(int(each[-1]) for each in depths)


@lru_cache(maxsize=65536)
def architecture(space: Space, genotype: Genotype) -> Architecture:
    """The architecture of a genotype."""
    values, stages, start = space.decode(genotype), list[StageChoice](), 1
    for stage, depth in enumerate(_depths(space), start=1):
        numbers = range(start, start + values[f"d{stage}"])
        blocks = tuple(BlockChoice(values[f"k{at}"], values[f"e{at}"]) for at in numbers)
        stages.append(StageChoice(values[f"w{stage}"], blocks))
        start += depth
    return Architecture(values["r1"], tuple(stages))


_depths = lru_cache(depths_of)


def _expressed(depths: Sequence[Sequence[int]]) -> list[str | None]:
    """The condition of each block; None for blocks that are always active."""
    return [
        None if block <= min(given) else f"d{stage}>={block}"
        for stage, given in enumerate(depths, start=1)
        for block in range(1, max(given) + 1)
    ]
