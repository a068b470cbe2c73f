"""Static network: backbone and head of one genotype as a plain module.

Legend: B batch, H W space.
"""

from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.detection.base import HeadOutput
from evonas.nn.level import Level
from evonas.space.genotype import Genotype
from evonas.supernets.backbone import Backbone, sides
from evonas.supernets.base import SupernetFamily, level_channels
from evonas.supernets.elastic_head import own_head
from evonas.supernets.resolution import head_output


class StaticNet(nn.Module):
    """A backbone and a head; trainable and exportable without the supernet.

    Args:
        backbone: backbone of a genotype, with its own tensors or bound to a supernet's.
        head: maps feature maps to the output.
        training: the mode of backbone and head.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, training: bool = True) -> None:
        super().__init__()
        self.training = training
        self.backbone, self.head = backbone, head

    @property
    def levels(self) -> tuple[Level, ...]:
        """Channels and strides of the maps of `features`."""
        return self.backbone.levels

    def features(self, x: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """The feature maps, one per level, at the backbone's input size."""
        return self.backbone(x)

    def forward_with_features(self, x: Float[Tensor, "B 3 H W"]) -> tuple[HeadOutput, list[Tensor]]:
        """Output and feature maps in one pass."""
        levels = self.features(x)
        return head_output(self.head, levels, self.backbone, sides(x)), levels

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> HeadOutput:
        """The output of the head."""
        return self.forward_with_features(x)[0]


def static_net(
    family: SupernetFamily, head: nn.Module, genotype: Genotype, seed: int | None = 0
) -> StaticNet:
    """The network of a genotype with its own weights.

    Args:
        family: the supernet family.
        head: copied with its weights, or those that the genotype's network has.
        genotype: the network.
        seed: seed of the backbone's random weights; None leaves them uninitialised, to be loaded.
    """
    net = StaticNet(family.build(genotype, seed), own_head(head, level_channels(family, genotype)))
    net.zero_grad(set_to_none=True)
    return net.requires_grad_(True)
