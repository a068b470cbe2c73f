"""Random images and random targets for proxies, without a data set.

Legend: B batch, C channels, H W space.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.randomness import derive

Loss = Callable[[Tensor], Tensor]


def image_shape(net: nn.Module, number: int, size: Sequence[int]) -> tuple[int, ...]:
    """The shape of a batch that a network reads: (B, 3, H, W), with its `tiles` before the channels if it has some.

    Args:
        net: the network.
        number: number of images.
        size: height and width of an image or tile in pixels.
    """
    tiles: tuple[int, ...] = getattr(net, "tiles", ())
    return (number, *tiles, 3, *size)


def random_images(shape: Sequence[int], seed: int, step: int = 0) -> Tensor:
    """Standard normal images, sampled on the CPU.

    Args:
        shape: (B, C, H, W), or with tiles before C.
        seed: seed of the images.
        step: index of the minibatch.
    """
    if min(shape) < 1:
        raise UserError(f"Images of shape {tuple(shape)} are empty.", "Use sides of at least one pixel.")
    generator = torch.Generator().manual_seed(derive(seed, "proxies/images", step))
    return torch.randn(tuple(shape), generator=generator)


class RandomTargets:
    """A loss against random targets: cross-entropy with uniform classes, or squared error for one channel.

    Targets depend only on the shape of the output and the arguments.

    Args:
        seed: seed of the targets.
        step: index of the minibatch.
    """

    def __init__(self, seed: int, step: int = 0) -> None:
        self._seed = derive(seed, "proxies/targets", step)

    def __call__(self, output: Tensor) -> Tensor:
        """The mean loss of an output (B C ...), as a scalar."""
        generator = torch.Generator().manual_seed(self._seed)
        if output.ndim < 2 or output.shape[1] == 1:
            target = torch.randn(output.shape, generator=generator).to(output)
            return F.mse_loss(output, target)
        shape = (output.shape[0], *output.shape[2:])
        labels = torch.randint(output.shape[1], shape, generator=generator)
        return F.cross_entropy(output, labels.to(output.device))
