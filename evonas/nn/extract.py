"""Extraction: one subnet as a plain network that owns just its weights.

Legend: B batch, H W space.
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evonas.nn.backbone import Backbone
from evonas.nn.detection.base import Answer
from evonas.nn.elastic import ELASTIC
from evonas.nn.level import Level
from evonas.nn.supernet import Supernet
from evonas.nn.trunk import Trunk
from evonas.space.evonet import architecture
from evonas.space.genotype import Genotype


class StaticNet(nn.Module):
    """One architecture and its head; trainable, exportable, and ignorant of the supernet.

    Args:
        backbone: a trunk limited to the architecture it is.
        head: maps its feature maps to the output.
    """

    def __init__(self, backbone: Trunk, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    @property
    def levels(self) -> tuple[Level, ...]:
        """What `features` returns: channels and strides."""
        return self.backbone.levels

    def features(self, x: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """The feature maps, one per level."""
        return self.backbone(x, self.backbone.limit)

    def forward_with_features(self, x: Float[Tensor, "B 3 H W"]) -> tuple[Answer, list[Tensor]]:
        """Output and feature maps in one pass."""
        levels = self.features(x)
        return self.head(levels), levels

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> Answer:
        """The head's output."""
        return self.forward_with_features(x)[0]


def static_net(backbone: Backbone, head: nn.Module, genotype: Genotype, seed: int | None = 0) -> StaticNet:
    """The network of one genotype with random weights, as a vessel for a state dict or for scratch training.

    Args:
        backbone: says what is not searched; its weights are not read.
        head: copied with its weights.
        seed: of the backbone's random weights, or None to leave them unset for a state dict.
    """
    choice = architecture(backbone.space, genotype)
    trunk = Trunk(choice, backbone.shape, backbone.drop_path, backbone.momentum, seed, backbone.slice)
    net = StaticNet(trunk, copy.deepcopy(head))
    net.zero_grad(set_to_none=True)
    return net.requires_grad_(True)


def extract(supernet: Supernet, genotype: Genotype) -> StaticNet:
    """One subnet with its inherited weights: on CPU in fp32 equal to the supernet bit for bit.

    Device, dtype and mode (training or not) are those of the supernet. Nothing is shared
    with it afterwards.
    """
    net = static_net(supernet.backbone, supernet.head, genotype, seed=None)
    some = next(supernet.backbone.parameters())
    net.backbone.to(some.device, some.dtype)
    _inherit(net.backbone, supernet.backbone)
    return net.train(supernet.training)


def _inherit(target: nn.Module, source: nn.Module) -> None:
    # both sides name their parts alike, blocks by their place in the supernet
    if isinstance(target, ELASTIC):
        target.inherit(source)
        return
    _copy_own(target, source)
    for name, part in target.named_children():
        _inherit(part, source.get_submodule(name))


@torch.no_grad()
def _copy_own(target: nn.Module, source: nn.Module) -> None:
    for kind in ("named_parameters", "named_buffers"):
        theirs = dict(getattr(source, kind)(recurse=False))
        for name, tensor in getattr(target, kind)(recurse=False):
            tensor.copy_(theirs[name])
