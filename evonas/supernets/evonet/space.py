"""The VSS-ViT search space of EvoNAS, and conversion of its genotypes to architectures.

Each stage has an MLP ratio and one bit per block, and SSD stages also a state size and an expansion; the last stage is
attention. The defaults give 28 genes and 1 784 592 000 000 points (EvoNAS, arXiv 2603.19563; layout of its public
code). The size at which images are read may be one more gene, which the paper does not have.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from evonas.errors import UserError
from evonas.space.genotype import Genotype
from evonas.space.space import Axis, Bits, Space
from evonas.supernets.input_size import LEAST_PIXELS, are_resolutions

RESOLUTION = "r1"
_GROUPS = {"state": "s", "mlp": "m", "expand": "e", "depth": "d"}


@dataclass(frozen=True, slots=True)
class StageChoice:
    """The choices of a stage; `d_state` and `expand` are None in the attention stage."""

    mlp_ratio: float
    d_state: int | None
    expand: float | None
    blocks: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoded genotype.

    Args:
        stages: the choices of each stage.
        resolution: the part of both sides of an image at which it is read, or above 1 its shorter side in pixels; None
            in spaces without this gene, whose networks read images as they are.
    """

    stages: tuple[StageChoice, ...]
    resolution: float | None = None


def evonet_space(
    name: str = "evonet",
    mlp_ratio: Sequence[float] = (0.5, 1.0, 2.0, 3.0, 3.5, 4.0),
    d_state: Sequence[int] = (16, 32, 48, 64),
    expand: Sequence[float] = (0.5, 1.0, 2.0, 3.0, 4.0),
    depths: Sequence[int] = (2, 4, 8, 4),
    resolutions: Sequence[float] | None = None,
) -> Space:
    """The space in the paper's integer layout: m1 s1 e1 m2 s2 e2 m3 s3 e3 m4, then r1 if it is searched, and the bits.

    Args:
        name: name of the space.
        mlp_ratio: hidden width of the MLP divided by the stage's width.
        d_state: state sizes of the SSD mixer.
        expand: width of the SSD mixer divided by the stage's width.
        depths: maximum number of blocks of each stage; the last stage is attention.
        resolutions: sizes at which images are read, all of them parts of both sides in (0, 1], or all shorter sides in
            pixels; None for images as they are, without a gene.

    Raises:
        UserError: there are no stages, or the choices are invalid.
    """
    if not depths:
        raise UserError("The space has no stages.", "Give depths, as in depths=[2,4,8,4].")
    axes: list[Axis] = []
    for stage in range(1, len(depths) + 1):
        axes.append(Axis(f"m{stage}", tuple(map(float, mlp_ratio))))
        if stage < len(depths):
            axes.append(Axis(f"s{stage}", tuple(map(int, d_state))))
            axes.append(Axis(f"e{stage}", tuple(map(float, expand))))
    bits = [Bits(f"d{stage}", int(depth)) for stage, depth in enumerate(depths, start=1)]
    groups = {"mlp": "m", "depth": "d"} if len(depths) == 1 else _GROUPS
    if resolutions is not None:
        if not are_resolutions(resolutions):
            raise UserError(
                f"space.resolutions must be parts in (0, 1] or pixels from {LEAST_PIXELS}, got {list(resolutions)}.",
                "Try +space.resolutions=[0.5,0.75,1.0].",
            )
        kind: type = float if max(resolutions) <= 1 else int
        axes.append(Axis(RESOLUTION, tuple(map(kind, resolutions))))
        groups = {**groups, "resolution": "r"}
    return Space(name, (*axes, *bits), groups=groups)


@lru_cache(maxsize=65536)
def architecture(space: Space, genotype: Genotype) -> Architecture:
    """The architecture of a genotype.

    Raises:
        UserError: the space does not have the layout of `evonet_space`.
    """
    values = space.decode(genotype)
    stages = range(1, len(space.bits) + 1)
    wanted = {f"{prefix}{i}" for prefix in "md" for i in stages}
    wanted |= {f"{prefix}{i}" for prefix in "se" for i in stages[:-1]}
    if set(values) - {RESOLUTION} != wanted:
        raise UserError(
            f"Space {space.name} is not a VSS-ViT space: its genes are {', '.join(values)}.",
            "Leave space= out: a network brings its own. Or choose space=evonet, space=nano or one of evonet_space.",
        )
    return Architecture(
        tuple(
            StageChoice(values[f"m{i}"], values.get(f"s{i}"), values.get(f"e{i}"), values[f"d{i}"])
            for i in stages
        ),
        values.get(RESOLUTION),
    )
