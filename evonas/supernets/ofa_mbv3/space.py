"""The search space of Once-for-All's MobileNetV3, and conversion of its genotypes to architectures.

There is a depth per stage, a kernel and an expansion per block, and the size at which images are read. The genes of a
stage stand together and the size is last, as in the genomes of NSGANetV2 (arXiv 2007.10396): with the defaults 46
integers, five times a depth, four kernels and four expansions, and a size. Blocks are numbered over all stages; genes
of blocks beyond the depth of their stage are not expressed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from evonas.errors import UserError
from evonas.space.genotype import Genotype
from evonas.space.space import Axis, Space
from evonas.supernets.input_size import LEAST_PIXELS, are_resolutions

STAGES = 5
PIXELS = tuple(range(128, 257, 4))
_GROUPS = {"depth": "d", "kernel": "k", "expand": "e", "resolution": "r"}
_HINT = "Leave space= out: a network brings its own. Or choose space=ofa_nano or one of ofa_space."


@dataclass(frozen=True, slots=True)
class BlockChoice:
    """The choices of a block: kernel size, and hidden channels divided by input channels."""

    kernel: int
    expand: float


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoded genotype.

    Args:
        resolution: the shorter side of the image in pixels, or at most 1: a part of both sides.
        stages: the active blocks of each stage.
    """

    resolution: float
    stages: tuple[tuple[BlockChoice, ...], ...]


def ofa_space(
    name: str = "ofa_mbv3",
    depths: Sequence[Sequence[int]] = ((2, 3, 4),) * STAGES,
    kernels: Sequence[int] = (3, 5, 7),
    expand: Sequence[float] = (3, 4, 6),
    resolutions: Sequence[float] = PIXELS,
) -> Space:
    """The space with the layout d, k of every block, e of every block for each stage, then r1.

    Args:
        name: name of the space.
        depths: numbers of blocks of each of the five stages.
        kernels: sizes of the depthwise kernels, 3 or more odd numbers that follow one another.
        expand: hidden channels of a block divided by its input channels.
        resolutions: shorter sides of images in pixels (as published, for classification), or parts of the sides in
            (0, 1] (for dense tasks).

    Raises:
        UserError: the choices are invalid.
    """
    if len(depths) != STAGES:
        raise UserError(
            f"space.depths has {len(depths)} stages, and this network has {STAGES}.",
            "Give one list of numbers of blocks per stage, as in conf/space/ofa_nano.yaml.",
        )
    sides = [int(side) for side in kernels]
    if sides != list(kernels) or sides != list(range(3, 3 + 2 * len(sides), 2)) or not sides:
        raise UserError(
            f"space.kernels must be 3 and the odd numbers after it, got {list(kernels)}.",
            "Try space.kernels=[3,5,7].",
        )
    if not are_resolutions(resolutions):
        raise UserError(
            f"space.resolutions must be pixels from {LEAST_PIXELS} or parts in (0, 1], got {list(resolutions)}.",
            "Try space.resolutions=[128,160,192,224] or space.resolutions=[0.5,0.75,1.0].",
        )
    for key, lists in (("depths", depths), ("expand", [expand])):
        if any(not each or min(each) < 1 for each in lists):
            raise UserError(
                f"space.{key} must hold numbers from 1, got {list(lists)}.", "See conf/space/ofa_mbv3.yaml."
            )
    axes, number, factors = list[Axis](), 0, tuple(map(float, expand))
    for stage, given in enumerate(depths, start=1):
        axes.append(Axis(f"d{stage}", tuple(map(int, given))))
        conditions = [None if block <= min(given) else f"d{stage}>={block}" for block in _blocks(given)]
        numbers = range(number + 1, number + 1 + len(conditions))
        axes += [Axis(f"k{at}", tuple(sides), by) for at, by in zip(numbers, conditions, strict=True)]
        axes += [Axis(f"e{at}", factors, by) for at, by in zip(numbers, conditions, strict=True)]
        number += len(conditions)
    is_part = max(resolutions) <= 1
    axes.append(Axis("r1", tuple(float(each) if is_part else int(each) for each in resolutions)))
    return Space(name, tuple(axes), groups=_GROUPS)


def depths_of(space: Space) -> tuple[int, ...]:
    """The maximum number of blocks of each stage.

    Raises:
        UserError: the space does not have the layout of `ofa_space`.
    """
    axes = {axis.name: axis.choices for axis in space.axes}
    try:
        given = [[int(choice) for choice in axes[f"d{stage}"]] for stage in range(1, STAGES + 1)]
        kernels = [int(choice) for choice in axes["k1"]]
        expand, resolutions = ([float(choice) for choice in axes[gene]] for gene in ("e1", "r1"))
        wanted = ofa_space(space.name, given, kernels, expand, resolutions)
    except (KeyError, ValueError, UserError):
        wanted = None
    if wanted is None or wanted.genes != space.genes:
        raise UserError(
            f"Space {space.name} is not one of Once-for-All's MobileNetV3: its genes are {', '.join(space.spans)}.",
            _HINT,
        )
    return tuple(each[-1] for each in given)


@lru_cache(maxsize=65536)
def architecture(space: Space, genotype: Genotype) -> Architecture:
    """The architecture of a genotype."""
    values, stages, start = space.decode(genotype), list[tuple[BlockChoice, ...]](), 1
    for stage, depth in enumerate(_depths(space), start=1):
        numbers = range(start, start + values[f"d{stage}"])
        stages.append(tuple(BlockChoice(values[f"k{at}"], values[f"e{at}"]) for at in numbers))
        start += depth
    return Architecture(values["r1"], tuple(stages))


_depths = lru_cache(depths_of)


def _blocks(depths: Sequence[int]) -> range:
    return range(1, max(depths) + 1)
