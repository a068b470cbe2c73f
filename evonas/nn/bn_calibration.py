"""BN calibration: recomputes the batch-norm statistics of a subnet.

Legend: H W space.
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
    """Recomputes running statistics as averages over batches (BN calibration), in place.

    The running statistics of a supernet are a mixture over subnets, so an extracted subnet needs its own.

    Args:
        net: an extracted network; it is left in eval mode.
        images: batches B 3 H W, possibly of different sizes.
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
    """All batch norms with running statistics, of any class, in order."""
    return [
        module
        for module in net.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
    ]


class BNCalibration:
    """BN calibration with a disk cache of the statistics of each subnet.

    Args:
        images: returns batches B 3 H W; called at most once, on the first cache miss.
        number: number of images.
        folder: cache folder with one small file per subnet; several processes may share it.
        about: everything statistics depend on besides the subnet, such as digests of the supernet's
            weights and of the images.
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
        """Calibrates an extracted subnet in place and leaves it in eval mode.

        Args:
            net: the extracted subnet.
            subnet: text form of its genotype, part of the cache key.

        Raises:
            DataError: the cached file was altered.
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
    """The running statistics of all batch norms, by name of buffer."""
    return {
        f"{name}.{buffer}": tensor
        for name, module in net.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for buffer, tensor in module.named_buffers(recurse=False)
    }
