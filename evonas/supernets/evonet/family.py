"""EvoNet: the VSS-ViT supernet of EvoNAS (arXiv 2603.19563)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from evonas.errors import UserError
from evonas.nn.level import Level, pyramid
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import Bar, Cost, Cut, Cuts, DrawnStage, PublishedNetwork, Settings
from evonas.supernets.evonet.cost import (
    MIXERS,
    NetworkShape,
    block_cost,
    description,
    end_cost,
    path,
    ssd_width,
    stem_cost,
)
from evonas.supernets.evonet.published import PUBLISHED, PUBLISHED_SETTINGS
from evonas.supernets.evonet.segments import Segments
from evonas.supernets.evonet.space import RESOLUTION, Architecture, StageChoice, architecture
from evonas.supernets.input_size import input_size
from evonas.supernets.step import Place, Size, Step

if TYPE_CHECKING:
    from torch import Tensor, nn

    from evonas.supernets.adoption import Adoption
    from evonas.supernets.evonet.backbone import EvoNetBackbone

SLICES = ("prefix", "per_head")
# the image size to which areas are relative where resolutions are pixels
_USUAL = 224


class EvoNet:
    """The EvoNet family of a space; the largest genotype determines the sizes of the shared weights.

    Args:
        space: a space with the layout of `evonet_space`.
        dims: channels of each stage.
        heads: heads of each stage's mixer; they must divide every width of the mixer.
        stem_dim: channels at stride 2.
        stem_ratio: hidden channels of the stem at stride 4, as a multiple of `dims[0]`.
        merge_ratio: hidden channels of a patch merge, as a multiple of its output.
        drop_path: rate of the last block; rates rise linearly over the supernet's blocks.
        bn_momentum: momentum of the batch norms in stem and patch merges.
        width_slicing: a subnet of smaller expansion uses the first channels overall (`prefix`, as published), or of
            every head (`per_head`, so that no channel changes its head).
        mixer: `noncausal`: a token reads all tokens through one state, as published; `bidirectional`: it reads earlier
            and later tokens by a scan of Mamba-2 in each direction.

    Raises:
        UserError: dims, heads and space are inconsistent, or width_slicing or mixer is unknown.
    """

    name = "evonet"

    def __init__(
        self,
        space: Space,
        dims: Sequence[int],
        heads: Sequence[int],
        stem_dim: int = 32,
        stem_ratio: float = 4.0,
        merge_ratio: float = 4.0,
        drop_path: float = 0.0,
        bn_momentum: float = 0.1,
        width_slicing: str = "prefix",
        mixer: str = MIXERS[0],
    ) -> None:
        if mixer not in MIXERS:
            raise UserError(
                f"network.mixer={mixer} is unknown.", f"Choose network.mixer={' or '.join(MIXERS)}."
            )
        if width_slicing not in SLICES:
            raise UserError(
                f"network.width_slicing={width_slicing} is unknown.",
                "Choose network.width_slicing=prefix or per_head.",
            )
        self.space, self.width_slicing = space, width_slicing
        self.shape = NetworkShape(tuple(dims), tuple(heads), stem_dim, stem_ratio, merge_ratio, mixer)
        self.drop_path, self.momentum = drop_path, bn_momentum
        for point in _every_choice(space):
            _check(self.shape, architecture(space, point))

    @property
    def levels(self) -> tuple[Level, ...]:
        """One per stage, at strides 4, 8, 16 and so on."""
        return pyramid(self.shape.dims)

    @cached_property
    def places(self) -> Mapping[Place, tuple[str, ...]]:
        """All places; a block depends on its stage's choices, its own bit, and the resolution if it is searched."""
        resized = () if self.largest.resolution is None else (RESOLUTION,)
        found: dict[Place, tuple[str, ...]] = {(0, 0): resized}
        for stage, choice in enumerate(self.largest.stages, start=1):
            axes = [f"{prefix}{stage}" for prefix in ("m" if choice.d_state is None else "mse")]
            for place in range(len(choice.blocks)):
                found[stage, place] = (*axes, f"d{stage}.{place + 1}", *resized)
            found[stage, len(choice.blocks)] = resized
        return found

    @cached_property
    def largest(self) -> Architecture:
        """The largest architecture, which determines the sizes of the shared tensors."""
        return architecture(self.space, self.space.largest())

    @cached_property
    def segments(self) -> Segments:
        """The elastic segments of the blocks' tensors."""
        return Segments(self.shape, self.largest, self.width_slicing)

    def path(self, genotype: Genotype) -> tuple[Step, ...]:
        return path(architecture(self.space, genotype))

    def price(self, step: Step, size: Size) -> Cost:
        stage, place = step.at[0] - 1, step.at[1]
        if self.largest.resolution is not None:
            size = input_size(float(step.choice[-1]), size)
        if stage < 0:
            return stem_cost(self.shape, size)
        if place == len(self.largest.stages[stage].blocks):
            return end_cost(self.shape, stage, size)
        mlp_ratio, d_state, expand = (float(each) for each in step.choice[:3])
        is_attention = not d_state
        choice = StageChoice(
            mlp_ratio, None if is_attention else int(d_state), None if is_attention else expand, ()
        )
        return block_cost(choice, self.shape, stage, size)

    @property
    def published(self) -> Mapping[str, PublishedNetwork]:
        """The networks published by EvoNAS by name, if the space is theirs."""
        found: dict[str, PublishedNetwork] = {}
        for name, net in PUBLISHED.items():
            with suppress(UserError):
                genotype = self.space.format(self.space.parse(net.genotype))
                found[name] = PublishedNetwork(genotype, PUBLISHED_SETTINGS)
        return found

    def input_size(self, genotype: Genotype, size: Size) -> Size:
        resolution = architecture(self.space, genotype).resolution
        return size if resolution is None else input_size(resolution, size)

    def features(self, genotype: Genotype) -> list[float]:
        """Per stage the number n of blocks and n m, and in SSD stages n s, n e and n s e.

        Where the resolution is searched, the relative area a of the resized image comes first, and all are times a.
        """
        of = architecture(self.space, genotype)
        found: list[float] = [] if of.resolution is None else [1.0]
        for choice in of.stages:
            count = float(sum(choice.blocks))
            found += [count, count * choice.mlp_ratio]
            if choice.d_state is not None and choice.expand is not None:
                found += [
                    count * choice.d_state,
                    count * choice.expand,
                    count * choice.d_state * choice.expand,
                ]
        if of.resolution is None:
            return found
        side = of.resolution if of.resolution <= 1 else of.resolution / _USUAL
        return [side**2 * each for each in found]

    def describe(self, genotype: Genotype) -> dict[str, Any]:
        return description(architecture(self.space, genotype), self.shape)

    def draw(self, genotype: Genotype) -> tuple[DrawnStage, ...]:
        """The bars of a block: width of the mixer, hidden width of the MLP."""
        of = architecture(self.space, genotype)
        stages = zip(of.stages, self.shape.dims, strict=True)
        return tuple(_drawn(choice, dim, of.resolution) for choice, dim in stages)

    def build(self, genotype: Genotype | None, seed: int | None) -> "EvoNetBackbone":
        from evonas.supernets.evonet.backbone import EvoNetBackbone

        of = self.largest if genotype is None else architecture(self.space, genotype)
        return EvoNetBackbone(of, self.shape, self.drop_path, self.momentum, seed)

    def cuts(self, genotype: Genotype) -> Cuts:
        """The first channels of each segment (x, B, C, z) of the mixers, and the first hidden channels of the MLPs."""
        stages = enumerate(architecture(self.space, genotype).stages)
        found: dict[str, tuple[Cut, ...]] = {}
        for at, choice in stages:
            of_block = self._block_cuts(at, choice)
            for place, on in enumerate(choice.blocks):
                if on:
                    found |= {f"stages.{at}.blocks.{place}.{name}": each for name, each in of_block.items()}
        return found

    def _block_cuts(self, stage: int, choice: StageChoice) -> dict[str, tuple[Cut, ...]]:
        stored = self.segments.stored(stage)
        found: dict[str, tuple[Cut, ...]] = {}
        for name, (axis, kept) in self.segments.of(stage, choice).items():
            full = stored[name][1]
            if kept != full:
                heads = self.segments.heads(stage, name)
                found[name] = (Cut(axis, tuple(_pieces(full, kept, heads))),)
        return found

    def settings(self, genotype: Genotype) -> Settings:  # noqa: ARG002
        return {}

    def adopt(self, net: "nn.Module", found: Mapping[str, "Tensor"], widening: str) -> "Adoption":
        from evonas.supernets.evonet.widening import adopt

        return adopt(self.segments, net, found, widening)

    def absent(self, genotype: Genotype) -> frozenset[str]:
        return frozenset(
            f"stages.{at}.blocks.{place}"
            for at, choice in enumerate(architecture(self.space, genotype).stages)
            for place, on in enumerate(choice.blocks)
            if not on
        )


def _pieces(full: Sequence[int], kept: Sequence[int], heads: int) -> Iterator[tuple[int, int]]:
    """Yields (start, length) of the rows that are kept of each segment; the first segment is cut per head."""
    start = 0
    for index, (size, length) in enumerate(zip(full, kept, strict=True)):
        parts = heads if index == 0 else 1
        for part in range(parts):
            yield start + part * (size // parts), length // parts
        start += size


def _every_choice(space: Space) -> Iterator[Genotype]:
    largest = space.decode(space.largest())
    for axis in space.axes:
        for choice in axis.choices:
            yield space.encode({**largest, axis.name: choice})


def _check(shape: NetworkShape, choices: Architecture) -> None:
    sizes = len(shape.dims), len(shape.heads), len(choices.stages)
    if len(set(sizes)) != 1:
        raise UserError(
            f"{sizes[0]} dims, {sizes[1]} heads and a space of {sizes[2]} stages do not fit together.",
            "Give network.dims and network.heads one entry per stage.",
        )
    for choice, dim, heads in zip(choices.stages, shape.dims, shape.heads, strict=True):
        width = dim if choice.expand is None else ssd_width(choice, dim)
        if width % heads:
            raise UserError(
                f"{heads} heads do not divide the width {width} (dim {dim}, expand {choice.expand}).",
                "Change network.heads or network.dims.",
            )


def _drawn(choice: StageChoice, dim: int, resolution: float | None) -> DrawnStage:
    captions = [f"{dim} ch", f"MLP x{choice.mlp_ratio:g}"]
    if choice.expand is None:
        captions.append("attention")
        mixer = Bar("s2", "attention", dim)
    else:
        captions += [f"SSD x{choice.expand:g}", f"state {choice.d_state}"]
        mixer = Bar("s0", "SSD", dim * choice.expand)
    if resolution is not None:
        captions.append(f"images x{resolution:g}" if resolution <= 1 else f"images {resolution:g} px")
    bars = (mixer, Bar("s1", "MLP", dim * choice.mlp_ratio))
    return DrawnStage(dim, tuple(captions), tuple(bars if on else None for on in choice.blocks))
