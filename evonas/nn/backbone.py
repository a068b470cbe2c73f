"""Backbone: the trunk that serves every point of a space."""

from collections.abc import Iterator, Sequence
from typing import cast, get_args

from evonas.errors import UserError
from evonas.nn.cost import MIXERS, NetworkShape, inner
from evonas.nn.mixers import Slice
from evonas.nn.trunk import Trunk
from evonas.space.evonet import Architecture, architecture
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class Backbone(Trunk):
    """The shared weights of a whole space: `backbone(x, architecture)` runs one point of it.

    Args:
        space: an evonet space; its largest point sets the size of the weights.
        dims: channels of each stage.
        heads: heads of each stage's mixer; they must divide every inner width of the space.
        stem_dim: channels at stride 2.
        stem_ratio: channels inside the stem at stride 4, as a multiple of `dims[0]`.
        merge_ratio: hidden channels of a patch merge, as a multiple of its output.
        drop_path: rate of the last block; rates rise linearly over the supernet's blocks.
        bn_momentum: of the batch norms in stem and patch merges.
        seed: of the random weights.
        slice: a subnet of a smaller expansion has the first channels of all (`prefix`, as published)
            or of every head (`per_head`, so that no channel changes its head).
        mixer: a token reads all tokens of its map by one state (`noncausal`, as published), or those before
            and those after it by a walk each (`bidirectional`, Mamba-2's).

    Raises:
        UserError: dims, heads and the space do not fit together, or slice or mixer are unknown.
    """

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
        seed: int = 0,
        slice: str = "prefix",
        mixer: str = MIXERS[0],
    ) -> None:
        if mixer not in MIXERS:
            raise UserError(f"There is no mixer '{mixer}'.", f"Choose network.mixer={' or '.join(MIXERS)}.")
        shape = NetworkShape(tuple(dims), tuple(heads), stem_dim, stem_ratio, merge_ratio, mixer)
        for point in _every_choice(space):
            _check(shape, architecture(space, point))
        largest = architecture(space, space.largest())
        super().__init__(largest, shape, drop_path, bn_momentum, seed, _known(slice))
        self.space = space


def _known(slice: str) -> Slice:
    for known in get_args(Slice):
        if slice == known:
            return cast(Slice, known)
    raise UserError(f"Subnets cannot be sliced by '{slice}'.", "Choose network.slice=prefix or per_head.")


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
        width = dim if choice.expand is None else inner(choice, dim)
        if width % heads:
            raise UserError(
                f"{heads} heads do not divide the width {width} (dim {dim}, expand {choice.expand}).",
                "Change network.heads or network.dims.",
            )
