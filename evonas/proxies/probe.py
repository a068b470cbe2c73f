"""Probe: a network with images and loss, with cached statistics for several proxies."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from evonas.proxies.inputs import Loss, RandomTargets, random_images
from evonas.proxies.record import Recorder
from evonas.proxies.statistics import NetworkStatistics, single, statistics, untrained_copy


class Probe:
    """A network, images and a loss; proxies do not change the network.

    Args:
        net: maps images to one tensor.
        images: (B C H W) on the network's device, with B at least 2.
        seed: seed of targets, additional images and random directions.
        loss: loss of the output; None for random targets.
    """

    def __init__(self, net: nn.Module, images: Tensor, seed: int = 0, loss: Loss | None = None) -> None:
        self.net, self.images, self.seed, self._loss = net, images, seed, loss

    @cached_property
    def statistics(self) -> NetworkStatistics:
        """Layer statistics of one forward and backward pass."""
        return statistics(self.net, self.images, self.seed, self._loss)

    def copy(self) -> nn.Module:
        """A trainable copy in training mode without dropout, which a proxy may change."""
        return untrained_copy(self.net)

    def loss(self, output: Tensor, step: int = 0) -> Tensor:
        """The loss of an output; random targets depend on the step."""
        return (self._loss or RandomTargets(self.seed, step))(single(output))

    def minibatch(self, step: int) -> Tensor:
        """The images at step 0, and random images of the same shape at other steps."""
        if step == 0:
            return self.images
        return random_images(self.images.shape, self.seed, step).to(self.images)

    @cached_property
    def codes(self) -> tuple[Tensor, ...]:
        """Binary codes (B n) of every activation's input, whether it is positive, in execution order."""
        found: list[Tensor] = []
        size = len(self.images)
        watched(self.copy(), self.images, lambda given, _: found.append((given > 0).reshape(size, -1)))
        return tuple(found)

    @cached_property
    def jacobian(self) -> Tensor:
        """The gradient of the sum of all outputs with respect to each image, flattened to (B n)."""
        images = self.images.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            output = single(self.copy()(images)).sum()
            # an output that does not depend on the images may have no gradient
            found = (
                torch.autograd.grad(output, images, allow_unused=True)[0] if output.requires_grad else None
            )
        return (torch.zeros_like(images) if found is None else found).flatten(1)


def watched(net: nn.Module, images: Tensor, gate: Callable[[Tensor, Any], None]) -> Tensor:
    """Runs a network without gradients and calls `gate` with the input and function of every activation."""
    with torch.no_grad(), Recorder(net, gate):
        return single(net(images))
