"""Supernet: shared weights of all subnets, executed for one genotype at a time, and extraction of subnets.

Legend: B batch, H W space.
"""

from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.detection.base import HeadOutput
from evonas.nn.level import Level
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import SupernetFamily, widths
from evonas.supernets.elastic_head import subnet_head
from evonas.supernets.slices import bind, slices
from evonas.supernets.static_net import StaticNet, static_net


class Supernet(nn.Module):
    """The shared backbone of a family, and a head; the genotype is an argument of every call.

    Calls do not influence each other, except that in training all subnets update the same batch-norm statistics.

    Args:
        family: the supernet family.
        head: maps feature maps to the output; all subnets share it completely, or its first channels (`elastic_head`).
        seed: seed of the backbone's random weights; None leaves them uninitialised, to be loaded.
    """

    def __init__(self, family: SupernetFamily, head: nn.Module, seed: int | None = 0) -> None:
        super().__init__()
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
        head = subnet_head(self.head, widths(self.family, genotype))
        return StaticNet(bind(self.family, self.backbone, genotype), head, self.training)

    def features(self, x: Float[Tensor, "B 3 H W"], genotype: Genotype) -> list[Tensor]:
        """The feature maps of a subnet, one per level."""
        return self.subnet(genotype).features(x)

    def forward_with_features(
        self, x: Float[Tensor, "B 3 H W"], genotype: Genotype
    ) -> tuple[HeadOutput, list[Tensor]]:
        """Output and feature maps of a subnet, in one pass."""
        return self.subnet(genotype).forward_with_features(x)

    def forward(self, x: Float[Tensor, "B 3 H W"], genotype: Genotype) -> HeadOutput:
        """The output of a subnet."""
        return self.forward_with_features(x, genotype)[0]


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
