"""The search space of ElasticViT (arXiv 2303.09730), and conversion of its genotypes to architectures.

A network has seven stages: a convolutional stem, two stages of inverted residuals (C1, C2) and four of attention and
feed-forward layers (T1 to T4). The image size, the channels and the depth of every stage, kernels and expansions of
the convolutional stages, and expansions and value widths of the attention stages are searched. Channels do not
decrease from stage to stage: an integer layout with a narrower stage means the network whose stage has the narrowest
channels that are not below those before, and a text with one is refused.

As in the published supernet the layers of a stage share kernel, expansion and value width: one gene per stage. With
`per_layer` every layer has its own, expressed by the depth of its stage.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from evonas.errors import UserError
from evonas.space.genotype import Genotype
from evonas.space.space import Axis, Opening, Space
from evonas.supernets.input_size import LEAST_PIXELS, are_resolutions

# stem, C1 and C2; then T1 to T4
CONVS, ATTENTIONS = 3, 4
STAGES = CONVS + ATTENTIONS
# channels of an attention head for queries and keys
HEAD = 16
PIXELS = (128, 160, 176, 192, 224, 256)
_GROUPS = {
    "resolution": "r",
    "width": "w",
    "depth": "d",
    "expand": "e",
    "kernel": "k",
    "mlp": "m",
    "value": "v",
}
_WIDTHS = (
    (16, 24),
    (16, 24, 32),
    (16, 24, 32, 40, 48),
    tuple(range(48, 97, 16)),
    tuple(range(80, 161, 16)),
    tuple(range(144, 289, 16)),
    tuple(range(160, 321, 16)),
)
_DEPTHS = (
    (1, 2),
    (2, 3, 4, 5),
    (2, 3, 4, 5, 6),
    (1, 2, 3, 4, 5),
    (1, 2, 3, 4, 5, 6),
    (1, 2, 3, 4, 5, 6),
    (1, 2, 3, 4, 5, 6),
)
_DRAWS = 64
_HINT = "Leave space= out: a network brings its own. Or choose a space of vit_space."


@dataclass(frozen=True, slots=True)
class ConvChoice:
    """The choices of an inverted residual: kernel size, and hidden channels divided by input channels."""

    kernel: int
    expand: int


@dataclass(frozen=True, slots=True)
class AttentionChoice:
    """The choices of an attention layer and the feed-forward layer behind it.

    Args:
        mlp: hidden channels of the feed-forward layer divided by the stage's channels.
        value: channels of the values divided by the stage's channels.
    """

    mlp: float
    value: int


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoded genotype.

    Args:
        resolution: the shorter side of the image in pixels, or at most 1: a part of both sides.
        widths: channels of the seven stages.
        convs: the layers of the stem, C1 and C2; expansions of the stem are 1.
        attentions: the layers of T1 to T4.
    """

    resolution: float
    widths: tuple[int, ...]
    convs: tuple[tuple[ConvChoice, ...], ...]
    attentions: tuple[tuple[AttentionChoice, ...], ...]

    @property
    def depths(self) -> tuple[int, ...]:
        """The number of layers of each of the seven stages."""
        return tuple(map(len, (*self.convs, *self.attentions)))


@dataclass(frozen=True)
class RisingSpace(Space):
    """A space whose stages do not become narrower: the channels of stage i are the axis w{i}."""

    def size(self) -> int:
        """The exact number of networks."""
        free = prod(len(axis.choices) for axis in self._widths)
        counts = [1] * len(self._widths[0].choices)
        for at, least in self._columns[1:]:
            # least[i] is the first choice that may follow choice i of the stage before
            pairs = list(zip(least.tolist(), counts, strict=True))
            choices = range(self.cardinalities[at])
            counts = [sum(count for first, count in pairs if first <= own) for own in choices]
        return self._expression.count() // free * sum(counts)

    def encode(self, values: Mapping[str, Any]) -> Genotype:
        found = super().encode(values)
        for one, other in pairwise(axis.name for axis in self._widths):
            if values[other] < values[one]:
                raise UserError(
                    f"{other}={values[other]} is narrower than {one}={values[one]}.",
                    f"Channels of space {self.name} do not decrease from stage to stage.",
                )
        return found

    def canonical_rows(self, rows: np.ndarray) -> np.ndarray:
        """(N, V) layouts without narrower stages behind wider ones, and 0 at positions that are not expressed."""
        found = np.array(super().canonical_rows(rows))
        for (before, _), (at, least) in pairwise(self._columns):
            found[:, at] = np.maximum(found[:, at], least[found[:, before]])
        return found

    def sample(self, rng: np.random.Generator, opened: Opening | None = None) -> Genotype:
        """A random point: uniform choices, drawn again while a stage is narrower than the one before.

        An opening without such a point gives the nearest one of the whole space.
        """
        choices = [self.narrowed(opened).choices[axis.name] for axis in self.axes]
        for _ in range(_DRAWS):
            vector = [each[int(rng.integers(len(each)))] for each in choices]
            if self._rises(vector):
                break
        return self.from_vector(vector)

    def _rises(self, vector: Sequence[int]) -> bool:
        return all(
            vector[at] >= least[vector[before]] for (before, _), (at, least) in pairwise(self._columns)
        )

    @property
    def _widths(self) -> list[Axis]:
        return [axis for axis in self.axes if axis.name in {f"w{stage}" for stage in range(1, STAGES + 1)}]

    @cached_property
    def _columns(self) -> list[tuple[int, np.ndarray]]:
        """The position of each stage's channels, and its least index for every index of the stage before."""
        found, before = list[tuple[int, np.ndarray]](), tuple[Any, ...]()
        for axis in self._widths:
            least = [next(at for at, own in enumerate(axis.choices) if own >= width) for width in before]
            found.append((self.spans[axis.name].start, np.array(least, dtype=np.int64)))
            before = axis.choices
        return found


def vit_space(
    name: str = "elasticvit",
    widths: Sequence[Sequence[int]] = _WIDTHS,
    depths: Sequence[Sequence[int]] = _DEPTHS,
    kernels: Sequence[int] = (3, 5),
    expand: Sequence[int] = (3, 4, 5, 6),
    mlp: Sequence[float] = (2, 3, 4, 5),
    value: Sequence[int] = (2, 3, 4),
    resolutions: Sequence[float] = PIXELS,
    per_layer: bool = False,
) -> Space:
    """The space with the layout r1, w1 to w7, d1 to d7, then e, k, m and v, in the order of published genotypes.

    Args:
        name: name of the space.
        widths: channels of each of the seven stages; those of attention stages are multiples of 16.
        depths: numbers of layers of each of the seven stages.
        kernels: sizes of the depthwise kernels: 3, or 3 and 5.
        expand: hidden channels of a block of C1 and C2 divided by its input channels.
        mlp: hidden channels of a feed-forward layer divided by the stage's channels.
        value: channels of the values divided by the stage's channels.
        resolutions: shorter sides of images in pixels (as published, for classification), or parts of the sides in
            (0, 1] (for dense tasks).
        per_layer: whether every layer has its own kernel, expansion and value width, instead of every stage.

    Raises:
        UserError: the choices are invalid.
    """
    _check(widths, depths, kernels, resolutions)
    for key, given in (("expand", expand), ("mlp", mlp), ("value", value)):
        whole = key != "mlp"
        if not given or min(given) < 1 or (whole and any(int(each) != each for each in given)):
            raise UserError(
                f"space.{key} must hold {'whole ' if whole else ''}numbers from 1, got {list(given)}.",
                "See conf/space/elasticvit.yaml.",
            )
    is_part = max(resolutions) <= 1
    axes = [Axis("r1", tuple(float(each) if is_part else int(each) for each in resolutions))]
    axes += [Axis(f"w{stage}", tuple(map(int, given))) for stage, given in enumerate(widths, start=1)]
    axes += [Axis(f"d{stage}", tuple(map(int, given))) for stage, given in enumerate(depths, start=1)]
    convs, attentions = range(1, CONVS + 1), range(CONVS + 1, STAGES + 1)
    for letter, stages, choices in (
        ("e", convs[1:], expand),
        ("k", convs, kernels),
        ("m", attentions, mlp),
        ("v", attentions, value),
    ):
        conditions = list[str | None]()
        for stage in stages:
            least, most = min(depths[stage - 1]), max(depths[stage - 1])
            layers = range(1, int(most) + 1 if per_layer else 2)
            conditions += [None if layer <= least else f"d{stage}>={layer}" for layer in layers]
        axes += [
            Axis(f"{letter}{at}", tuple(choices), condition) for at, condition in enumerate(conditions, 1)
        ]
    return RisingSpace(name, tuple(axes), groups=_GROUPS)


def _check(
    widths: Sequence[Sequence[int]],
    depths: Sequence[Sequence[int]],
    kernels: Sequence[int],
    resolutions: Sequence[float],
) -> None:
    for key, lists in (("widths", widths), ("depths", depths)):
        if len(lists) != STAGES:
            raise UserError(
                f"space.{key} has {len(lists)} stages, and this network has {STAGES}.",
                "Give one list per stage, as in conf/space/elasticvit.yaml.",
            )
        if any(not each or min(each) < 1 or any(int(one) != one for one in each) for each in lists):
            raise UserError(
                f"space.{key} must hold whole numbers from 1, got {[list(each) for each in lists]}.",
                "See conf/space/elasticvit.yaml.",
            )
    for stage, given in enumerate(widths[CONVS:], start=1):
        if odd := [width for width in given if width % HEAD]:
            raise UserError(
                f"Attention stage {stage} of space.widths has {odd[0]} channels, no multiple of {HEAD}.",
                f"Every attention head has {HEAD} channels.",
            )
    if any(max(other) < max(one) for one, other in pairwise(widths)):
        raise UserError(
            f"The largest channels of space.widths decrease: {[max(each) for each in widths]}.",
            "Channels do not decrease from stage to stage.",
        )
    if list(kernels) not in ([3], [3, 5]):
        raise UserError(
            f"space.kernels must be 3, or 3 and 5, got {list(kernels)}.", "Try space.kernels=[3,5]."
        )
    if not are_resolutions(resolutions):
        raise UserError(
            f"space.resolutions must be pixels from {LEAST_PIXELS} or parts in (0, 1], got {list(resolutions)}.",
            "Try space.resolutions=[128,160,192,224] or space.resolutions=[0.5,0.75,1.0].",
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """What a space's genes say of its form.

    Args:
        widths: the most channels of each stage.
        depths: the most layers of each stage.
        least: the fewest layers of each stage.
        per_layer: whether every layer has genes of its own.
        kernels: sizes of the kernels.
        mlp, value, expand: the largest ones.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    least: tuple[int, ...]
    per_layer: bool
    kernels: tuple[int, ...]
    mlp: float
    value: int
    expand: int

    def gene(self, letter: str, stage: int, place: int) -> str:
        """The name of a layer's gene `e`, `k`, `m` or `v`; stages and places count from 0."""
        first = {"e": 1, "k": 0, "m": CONVS, "v": CONVS}[letter]
        if not self.per_layer:
            return f"{letter}{stage - first + 1}"
        return f"{letter}{sum(self.depths[first:stage]) + place + 1}"


@lru_cache(maxsize=256)
def layout_of(space: Space) -> Layout:
    """The form of a space.

    Raises:
        UserError: the space does not have the layout of `vit_space`.
    """
    axes = {axis.name: axis.choices for axis in space.axes}
    wanted, per_layer = None, "m5" in axes or "k4" in axes
    try:
        widths, depths = ([axes[f"{key}{at}"] for at in range(1, STAGES + 1)] for key in "wd")
        kernels, expand, mlp, value, sides = (axes[key] for key in ("k1", "e1", "m1", "v1", "r1"))
        wanted = vit_space(space.name, widths, depths, kernels, expand, mlp, value, sides, per_layer)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, UserError):
        pass
    if wanted is None or wanted.genes != space.genes or not isinstance(space, RisingSpace):
        raise UserError(
            f"Space {space.name} is not one of ElasticViT: its genes are {', '.join(space.spans)}.", _HINT
        )
    return Layout(
        tuple(int(each[-1]) for each in widths),
        tuple(int(each[-1]) for each in depths),
        tuple(int(each[0]) for each in depths),
        per_layer,
        tuple(int(each) for each in kernels),
        float(mlp[-1]),
        int(value[-1]),
        int(expand[-1]),
    )


@lru_cache(maxsize=65536)
def architecture(space: Space, genotype: Genotype) -> Architecture:
    """The architecture of a genotype."""
    values, layout = space.decode(genotype), layout_of(space)

    def of(letter: str, stage: int) -> Iterable[Any]:
        return (values[layout.gene(letter, stage, place)] for place in range(values[f"d{stage + 1}"]))

    convs = [
        tuple(
            ConvChoice(int(kernel), int(expand))
            for kernel, expand in zip(
                of("k", stage), of("e", stage) if stage else [1] * values["d1"], strict=True
            )
        )
        for stage in range(CONVS)
    ]
    attentions = [
        tuple(
            AttentionChoice(float(mlp), int(value))
            for mlp, value in zip(of("m", stage), of("v", stage), strict=True)
        )
        for stage in range(CONVS, STAGES)
    ]
    widths = tuple(int(values[f"w{stage}"]) for stage in range(1, STAGES + 1))
    return Architecture(values["r1"], widths, tuple(convs), tuple(attentions))
