"""Batch-norm statistics of one subnet, measured anew.

Legend: H W space; batches may differ in size.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evonas import weights


@torch.no_grad()
def calibrate_batch_norm(net: nn.Module, images: Iterable[Float[Tensor, "_ 3 H W"]]) -> None:
    """Replace running statistics by plain averages over the batches of `images`, in place.

    Subnets share statistics, so those of one subnet are a mixture; use it on an extracted
    network. Leaves the network in eval mode.
    """
    norms = batch_norms(net.eval())
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


def batch_norms(net: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """All norms of any class inside that keep statistics over batches, in their order."""
    return [
        module
        for module in net.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
    ]


class BNCalibration:
    """`recalibrate` with a memory: the statistics of a subnet are taken once, and then read from a file.

    Args:
        images: gives batches B 3 H W; asked once, and only if some statistics are not in a file yet.
        number: of images.
        folder: one small file a subnet; several processes may share it.
        about: all that statistics depend on besides the subnet, such as digests of the supernet's
            weights and of the images; strings and numbers.
    """

    def __init__(
        self,
        images: Callable[[], Sequence[Float[Tensor, "_ 3 H W"]]],
        number: int,
        folder: Path,
        about: Mapping[str, str | int],
    ) -> None:
        self._images, self.number, self._folder, self._about = cache(images), number, folder, dict(about)

    @torch.no_grad()
    def __call__(self, net: nn.Module, subnet: str) -> None:
        """Renew the statistics of an extracted subnet in place, by its text form; leaves eval mode.

        Raises:
            DataError: a file was altered.
        """
        key = {**self._about, "subnet": subnet}
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
        path = self._folder / f"{name}.safetensors"
        if path.exists() and weights.load_meta(path).get("about") == key:
            found = weights.load(path)
            for name, statistic in _statistics(net.eval()).items():
                statistic.copy_(found[name])
            return
        calibrate_batch_norm(net, self._images())
        weights.save(path, _statistics(net), {"about": key})


def _statistics(net: nn.Module) -> dict[str, Tensor]:
    """The running statistics of every batch norm, by name of buffer."""
    return {
        f"{name}.{buffer}": tensor
        for name, module in net.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for buffer, tensor in module.named_buffers(recurse=False)
    }
