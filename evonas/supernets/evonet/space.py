"""The VSS-ViT search space of EvoNAS, and conversion of its genotypes to architectures.

Each stage has an MLP ratio and one bit per block, and SSD stages also a state size and an expansion; the last stage is
attention. The defaults give 28 genes and 1 784 592 000 000 points (EvoNAS, arXiv 2603.19563; layout of its public
code).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from evonas.errors import UserError
from evonas.space.genotype import Genotype
from evonas.space.space import Axis, Bits, Space

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
    """A decoded genotype: the choices of each stage."""

    stages: tuple[StageChoice, ...]


def evonet_space(
    name: str = "evonet",
    mlp_ratio: Sequence[float] = (0.5, 1.0, 2.0, 3.0, 3.5, 4.0),
    d_state: Sequence[int] = (16, 32, 48, 64),
    expand: Sequence[float] = (0.5, 1.0, 2.0, 3.0, 4.0),
    depths: Sequence[int] = (2, 4, 8, 4),
) -> Space:
    """The space in the paper's integer layout: m1 s1 e1 m2 s2 e2 m3 s3 e3 m4, then the depth bits.

    Args:
        name: name of the space.
        mlp_ratio: hidden width of the MLP divided by the stage's width.
        d_state: state sizes of the SSD mixer.
        expand: width of the SSD mixer divided by the stage's width.
        depths: maximum number of blocks of each stage; the last stage is attention.

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
    if set(values) != wanted:
        raise UserError(
            f"Space {space.name} is not a VSS-ViT space: its genes are {', '.join(values)}.",
            "Leave space= out: a network brings its own. Or choose space=evonet, space=nano or one of evonet_space.",
        )
    return Architecture(
        tuple(
            StageChoice(values[f"m{i}"], values.get(f"s{i}"), values.get(f"e{i}"), values[f"d{i}"])
            for i in stages
        )
    )
