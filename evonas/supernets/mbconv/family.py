"""MBConv: a supernet of inverted residuals for CPUs and small devices.

The space is that of Once-for-All (arXiv 1908.09791), with elastic widths as in slimmable networks (arXiv 1812.08928): a
smaller kernel is the centre of the largest, and fewer channels are the first ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from evonas.errors import UserError
from evonas.nn.level import Level, pyramid
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import Bar, Cost, Cut, Cuts, DrawnStage, Settings
from evonas.supernets.mbconv.cost import (
    BlockShape,
    NetworkShape,
    block_shapes,
    description,
    input_size,
    path,
    price,
)
from evonas.supernets.mbconv.space import Architecture, architecture, depths_of
from evonas.supernets.step import Place, Size, Step

if TYPE_CHECKING:
    from torch import Tensor, nn

    from evonas.supernets.adoption import Adoption
    from evonas.supernets.mbconv.backbone import MBConvBackbone

_STYLES = {3: "s0", 5: "s1"}


class MBConv:
    """The MBConv family of a space; the largest genotype determines the sizes of the shared weights.

    Args:
        space: a space with the layout of `mbconv_space`.
        levels: channels of the level after each stage, independent of the width of its blocks.
        stem: channels at stride 2.
        drop_path: rate of the last block; rates rise linearly over the supernet's blocks.
        bn_momentum: momentum of the batch norms.

    Raises:
        UserError: the space has another layout, or another number of stages than `levels`.
    """

    name = "mbconv"

    def __init__(
        self,
        space: Space,
        levels: Sequence[int],
        stem: int = 16,
        drop_path: float = 0.0,
        bn_momentum: float = 0.1,
    ) -> None:
        depths = depths_of(space)
        if len(levels) != len(depths):
            raise UserError(
                f"{len(levels)} levels and a space of {len(depths)} stages do not fit together.",
                "Give network.levels one entry per stage.",
            )
        self.space, self.shape = space, NetworkShape(stem, tuple(levels), depths)
        self.drop_path, self.momentum = drop_path, bn_momentum

    @property
    def levels(self) -> tuple[Level, ...]:
        """One per stage, at strides 4, 8, 16 and so on."""
        return pyramid(self.shape.levels)

    @cached_property
    def places(self) -> Mapping[Place, tuple[str, ...]]:
        """All places; a block depends on its own choices, its stage's width and depth, and the resolution."""
        found: dict[Place, tuple[str, ...]] = {(0, 0): ("r1",)}
        number = 0
        for stage, depth in enumerate(self.shape.depths, start=1):
            for place in range(depth):
                number += 1
                found[stage, place] = ("r1", f"w{stage}", f"d{stage}", f"k{number}", f"e{number}")
            found[stage, depth] = ("r1", f"w{stage}")
        return found

    @cached_property
    def largest(self) -> Architecture:
        """The largest architecture, which determines the sizes of the shared tensors."""
        return architecture(self.space, self.space.largest())

    def path(self, genotype: Genotype) -> tuple[Step, ...]:
        return path(architecture(self.space, genotype), self.shape)

    def price(self, step: Step, size: Size) -> Cost:
        return price(step, self.shape, size)

    def input_size(self, genotype: Genotype, size: Size) -> Size:
        return input_size(architecture(self.space, genotype).resolution, size)

    def features(self, genotype: Genotype) -> list[float]:
        """The relative area a of the resized image, and per stage a times four sums over its blocks.

        They are the number of blocks and the sums of M, M K^2 and M (I + O).
        """
        of = architecture(self.space, genotype)
        area = of.resolution**2
        found = [1.0]
        for stage in range(len(of.stages)):
            blocks = list(block_shapes(of, self.shape, stage))
            found += [
                float(len(blocks)),
                sum(each.hidden for each in blocks),
                sum(each.hidden * each.kernel**2 for each in blocks),
                sum(each.hidden * (each.given + each.out) for each in blocks),
            ]
        return [area * each for each in found]

    def describe(self, genotype: Genotype) -> dict[str, Any]:
        return description(architecture(self.space, genotype), self.shape)

    def draw(self, genotype: Genotype) -> tuple[DrawnStage, ...]:
        """The bar of a block: kernel size, and channels of the depthwise convolution."""
        of = architecture(self.space, genotype)
        return tuple(self._drawn(of, stage) for stage in range(len(of.stages)))

    def _drawn(self, of: Architecture, stage: int) -> DrawnStage:
        blocks, choice = block_shapes(of, self.shape, stage), of.stages[stage]
        bars = [
            (Bar(_STYLES.get(each.kernel, "s2"), f"{each.kernel}x{each.kernel}", each.hidden),)
            for each in blocks
        ]
        absent = [None] * (self.shape.depths[stage] - len(bars))
        captions = (
            f"{choice.width} ch",
            f"expand {', '.join(f'{each.expand:g}' for each in choice.blocks)}",
            f"images x{of.resolution:g}",
        )
        return DrawnStage(choice.width, captions, (*bars, *absent))

    def build(self, genotype: Genotype | None, seed: int | None) -> "MBConvBackbone":
        from evonas.supernets.mbconv.backbone import MBConvBackbone

        of = self.largest if genotype is None else architecture(self.space, genotype)
        return MBConvBackbone(of, self.shape, self.drop_path, self.momentum, seed)

    def cuts(self, genotype: Genotype) -> Cuts:
        of, found = architecture(self.space, genotype), dict[str, tuple[Cut, ...]]()
        for stage, choice in enumerate(of.stages):
            largest = list(block_shapes(self.largest, self.shape, stage))
            for at, block in enumerate(block_shapes(of, self.shape, stage)):
                for name, cuts in _block_cuts(largest[at], block):
                    if cuts:
                        found[f"stages.{stage}.blocks.{at}.{name}"] = cuts
            cuts = _first(1, self.largest.stages[stage].width, choice.width)
            if cuts:
                found[f"stages.{stage}.end.weight"] = cuts
        return found

    def absent(self, genotype: Genotype) -> frozenset[str]:
        stages = enumerate(architecture(self.space, genotype).stages)
        return frozenset(
            f"stages.{stage}.blocks.{at}"
            for stage, choice in stages
            for at in range(len(choice.blocks), self.shape.depths[stage])
        )

    def settings(self, genotype: Genotype) -> Settings:  # noqa: ARG002
        return {}

    def adopt(self, net: "nn.Module", found: Mapping[str, "Tensor"], widening: str) -> "Adoption":
        from evonas.supernets.adoption import adopt_equal

        return adopt_equal(net, found, widening)


def _block_cuts(largest: BlockShape, block: BlockShape) -> Iterator[tuple[str, tuple[Cut, ...]]]:
    """Yields the slices of the largest block's tensors that make a block."""
    given = _first(1, largest.given, block.given)
    rows, columns = (_first(axis, largest.hidden, block.hidden) for axis in (0, 1))
    out, start = _first(0, largest.out, block.out), (largest.kernel - block.kernel) // 2
    middle = tuple(Cut(axis, ((start, block.kernel),)) for axis in (2, 3)) if start else ()
    yield "widen.weight", (*rows, *given)
    yield "space.weight", (*rows, *middle)
    yield "narrow.weight", (*out, *columns)
    for tensor in ("weight", "bias", "running_mean", "running_var"):
        yield f"widen_norm.{tensor}", rows
        yield f"space_norm.{tensor}", rows
        yield f"narrow_norm.{tensor}", out


def _first(axis: int, full: int, kept: int) -> tuple[Cut, ...]:
    """The slice of the first channels of an axis; empty if all are kept."""
    return () if kept == full else (Cut(axis, ((0, kept),)),)
