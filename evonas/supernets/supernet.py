"""Supernet: the weights of every point, run at one point at a time, without state.

Legend: B batch, H W space.
"""

from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.detection.base import HeadOutput
from evonas.nn.level import Level
from evonas.space.genotype import Genotype
from evonas.space.space import Space
from evonas.supernets.base import SupernetFamily
from evonas.supernets.slices import bind, slices
from evonas.supernets.static_net import StaticNet, static_net


class Supernet(nn.Module):
    """A family's shared backbone and a head; the genotype is an argument, so calls never influence one another.

    Batch-norm statistics are the exception in training: all subnets share them.

    Args:
        family: whose weights these are.
        head: maps the backbone's feature maps to the output; shared whole by all subnets.
        seed: of the backbone's random weights; None leaves them uninitialised for a state dict.
    """

    def __init__(self, family: SupernetFamily, head: nn.Module, seed: int | None = 0) -> None:
        super().__init__()
        self.family = family
        self.backbone = family.build(None, seed)
        self.head = head

    @property
    def space(self) -> Space:
        """Gives genotypes their meaning."""
        return self.family.space

    @property
    def levels(self) -> tuple[Level, ...]:
        """What `features` returns: channels and strides."""
        return self.family.levels

    def subnet(self, genotype: Genotype) -> StaticNet:
        """One subnet as a static module on slices of these weights; to be used at once and dropped.

        Its mode is the supernet's at this moment. `extract` gives one that owns its weights.
        """
        return StaticNet(bind(self.family, self.backbone, genotype), self.head, self.training)

    def features(self, x: Float[Tensor, "B 3 H W"], genotype: Genotype) -> list[Tensor]:
        """The feature maps of one subnet, one per level."""
        return self.subnet(genotype).features(x)

    def forward_with_features(
        self, x: Float[Tensor, "B 3 H W"], genotype: Genotype
    ) -> tuple[HeadOutput, list[Tensor]]:
        """Output and feature maps of one subnet, in one pass."""
        return self.subnet(genotype).forward_with_features(x)

    def forward(self, x: Float[Tensor, "B 3 H W"], genotype: Genotype) -> HeadOutput:
        """Output of one subnet."""
        return self.forward_with_features(x, genotype)[0]


def extract(supernet: Supernet, genotype: Genotype) -> StaticNet:
    """One subnet with its inherited weights: on CPU in fp32 equal to the supernet bit for bit.

    Device, dtype and mode (training or not) are those of the supernet. Nothing is shared
    with it afterwards.
    """
    net = static_net(supernet.family, supernet.head, genotype, seed=None)
    some = next(supernet.backbone.parameters())
    net.backbone.to(some.device, some.dtype)
    net.backbone.load_state_dict(slices(supernet.family, supernet.backbone, genotype))
    return net.train(supernet.training)
