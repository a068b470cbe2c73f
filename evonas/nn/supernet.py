"""Supernet: the weights of every point, run at one point at a time, without state.

Legend: B batch, H W space.
"""

from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.backbone import Backbone
from evonas.nn.detection.base import Answer
from evonas.nn.level import Level
from evonas.space.evonet import architecture
from evonas.space.genotype import Genotype
from evonas.space.space import Space


class Supernet(nn.Module):
    """A backbone and a head; the genotype is an argument, so calls never influence one another.

    Batch-norm statistics are the exception in training: all subnets share them.

    Args:
        backbone: elastic over `space`.
        head: maps the backbone's feature maps to the output; shared whole by all subnets.
        space: gives genotypes their meaning.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, space: Space) -> None:
        super().__init__()
        self.backbone, self.head, self.space = backbone, head, space

    @property
    def levels(self) -> tuple[Level, ...]:
        """What `features` returns: channels and strides."""
        return self.backbone.levels

    def features(self, x: Float[Tensor, "B 3 H W"], genotype: Genotype) -> list[Tensor]:
        """The feature maps of one subnet, one per level."""
        return self.backbone(x, architecture(self.space, genotype))

    def forward_with_features(
        self, x: Float[Tensor, "B 3 H W"], genotype: Genotype
    ) -> tuple[Answer, list[Tensor]]:
        """Output and feature maps of one subnet, in one pass."""
        levels = self.features(x, genotype)
        return self.head(levels), levels

    def forward(self, x: Float[Tensor, "B 3 H W"], genotype: Genotype) -> Answer:
        """Output of one subnet."""
        return self.forward_with_features(x, genotype)[0]
