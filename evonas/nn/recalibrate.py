"""Batch-norm statistics of one subnet, measured anew.

Legend: B batch, H W space.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn


@torch.no_grad()
def recalibrate(net: nn.Module, images: Iterable[Float[Tensor, "B 3 H W"]]) -> None:
    """Replace running statistics by plain averages over the batches of `images`, in place.

    Subnets share statistics, so those of one subnet are a mixture; use it on an extracted
    network. Leaves the network in eval mode.
    """
    norms = [module for module in net.eval().modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for image in images:
        net(image)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    net.eval()
