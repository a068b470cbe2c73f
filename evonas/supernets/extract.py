"""Extraction: one subnet as a plain network that owns just its weights."""

from evonas.space.genotype import Genotype
from evonas.supernets.slices import slices
from evonas.supernets.static_net import StaticNet, static_net
from evonas.supernets.supernet import Supernet


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
