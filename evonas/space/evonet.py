"""The VSS-ViT space of EvoNAS: 4 MLP ratios, 3 state sizes, 3 expansions and a bit per block."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from evonas.space.gene import Axis, Bits
from evonas.space.genotype import Genotype
from evonas.space.space import Space

PAPER_MLP_RATIO = (0.5, 1.0, 2.0, 3.0, 3.5, 4.0)
PAPER_D_STATE = (16, 32, 48, 64)
PAPER_EXPAND = (0.5, 1.0, 2.0, 3.0, 4.0)
PAPER_DEPTHS = (2, 4, 8, 4)


@dataclass(frozen=True, slots=True)
class StageChoice:
    """One stage of a network; `d_state` and `expand` are None in an attention stage."""

    mlp_ratio: float
    d_state: int | None
    expand: float | None
    blocks: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A genotype read as a network; hashable."""

    stages: tuple[StageChoice, ...]


def evonet_space(
    name: str = "evonet",
    mlp_ratio: Sequence[float] = PAPER_MLP_RATIO,
    d_state: Sequence[int] = PAPER_D_STATE,
    expand: Sequence[float] = PAPER_EXPAND,
    depths: Sequence[int] = PAPER_DEPTHS,
) -> Space:
    """The space of EvoNAS (spec section 1.2): ordinal genes stage by stage, then all bits.

    The integer layout is the published one; with the defaults it has 28 genes and
    1,784,592,000,000 points. The last stage is attention and has only an MLP ratio.

    Args:
        depths: most blocks per stage.
    """
    parts: list[Axis | Bits] = []
    for stage in range(1, len(depths)):
        parts += [
            Axis(f"m{stage}", tuple(float(ratio) for ratio in mlp_ratio)),
            Axis(f"s{stage}", tuple(int(size) for size in d_state)),
            Axis(f"e{stage}", tuple(float(ratio) for ratio in expand)),
        ]
    parts.append(Axis(f"m{len(depths)}", tuple(float(ratio) for ratio in mlp_ratio)))
    parts += [Bits(f"d{stage}", depth) for stage, depth in enumerate(depths, start=1)]
    return Space(name, tuple(parts))


def architecture(space: Space, genotype: Genotype) -> Architecture:
    """A genotype of an evonet space, stage by stage."""
    return _architecture(space.parts, space, genotype)


@lru_cache(maxsize=65536)
def _architecture(parts: tuple[Axis | Bits, ...], space: Space, genotype: Genotype) -> Architecture:
    values = space.decode(genotype)
    stages = []
    for stage in range(1, sum(isinstance(part, Bits) for part in parts) + 1):
        stages.append(
            StageChoice(
                mlp_ratio=values[f"m{stage}"],
                d_state=values.get(f"s{stage}"),
                expand=values.get(f"e{stage}"),
                blocks=tuple(bool(bit) for bit in values[f"d{stage}"]),
            )
        )
    return Architecture(tuple(stages))
