"""Supernet: shared weights of all subnets, executed for one genotype at a time, and extraction of subnets.

Legend: B batch, H W space.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.detection.base import HeadOutput
from evonas.nn.level import Level
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import Pieces, SupernetFamily, level_channels, level_pieces
from evonas.supernets.elastic_head import check_head, subnet_head
from evonas.supernets.slices import bind, slices
from evonas.supernets.static_net import StaticNet, static_net


class Supernet(nn.Module):
    """The shared backbone of a family, and a head; the genotype is an argument of every call.

    Calls do not influence each other, except that in training all subnets update the same batch-norm statistics.

    Args:
        family: the supernet family.
        head: maps feature maps to the output; all subnets share it completely, or its first channels (`elastic_head`).
        seed: seed of the backbone's random weights; None leaves them uninitialised, to be loaded.

    Raises:
        UserError: levels lose channels in smaller subnets, and the head cannot be narrower.
    """

    def __init__(self, family: SupernetFamily, head: nn.Module, seed: int | None = 0) -> None:
        super().__init__()
        check_head(family, head)
        self.family = family
        self.backbone = family.build(None, seed)
        self.head = head

    @property
    def space(self) -> Space:
        """The search space of the genotypes."""
        return self.family.space

    @property
    def levels(self) -> tuple[Level, ...]:
        """Channels and strides of the maps of `features`."""
        return self.family.levels

    def subnet(self, genotype: Genotype) -> StaticNet:
        """A subnet as a static module bound to slices of these weights, for immediate use.

        It has the supernet's current mode. `extract` returns a subnet with its own weights.
        """
        head = subnet_head(self.head, level_channels(self.family, genotype))
        return StaticNet(bind(self.family, self.backbone, genotype), head, self.training)

    def features(self, x: Float[Tensor, "B 3 H W"], genotype: Genotype) -> list[Tensor]:
        """The feature maps of a subnet, one per level of the family; channels that a subnet's level lacks are zero."""
        return self._whole(self.subnet(genotype).features(x), genotype)

    def forward_with_features(
        self, x: Float[Tensor, "B 3 H W"], genotype: Genotype
    ) -> tuple[HeadOutput, list[Tensor]]:
        """Output and feature maps of a subnet, in one pass; see `features`."""
        output, maps = self.subnet(genotype).forward_with_features(x)
        return output, self._whole(maps, genotype)

    def forward(self, x: Float[Tensor, "B 3 H W"], genotype: Genotype) -> HeadOutput:
        """The output of a subnet."""
        return self.subnet(genotype)(x)

    def _whole(self, maps: list[Tensor], genotype: Genotype) -> list[Tensor]:
        """Maps with all channels of the family's levels."""
        pieces = level_pieces(self.family, genotype)
        if pieces is None:
            return maps
        return [
            _spread(each, kept, level.channels)
            for each, kept, level in zip(maps, pieces, self.levels, strict=True)
        ]


def _spread(x: Float[Tensor, "B C H W"], pieces: Pieces, channels: int) -> Float[Tensor, "B C2 H W"]:
    """A map whose channels are some of others, with zeros for those that it lacks."""
    if x.shape[1] == channels:
        return x
    parts, begin, at = list[Tensor](), 0, 0
    for start, length in (*pieces, (channels, 0)):
        if start > begin:
            parts.append(x.new_zeros(x.shape[0], start - begin, *x.shape[2:]))
        parts.append(x[:, at : at + length])
        begin, at = start + length, at + length
    return torch.cat(parts, 1)


def extract(supernet: Supernet, genotype: Genotype) -> StaticNet:
    """A static network with copies of a subnet's inherited weights.

    On the CPU in fp32 its outputs equal the supernet's bit for bit. Device, dtype and mode are those of the supernet;
    no memory is shared.
    """
    net = static_net(supernet.family, supernet.head, genotype, seed=None)
    some = next(supernet.backbone.parameters())
    net.backbone.to(some.device, some.dtype)
    net.backbone.load_state_dict(slices(supernet.family, supernet.backbone, genotype))
    return net.train(supernet.training)
