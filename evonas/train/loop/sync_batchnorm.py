"""Batch norm over the images of all ranks, on any backend of torch.distributed.

Legend: B batch, C channels. `torch.nn.SyncBatchNorm` needs CUDA; this one does not.
"""

from functools import cache
from typing import Any, cast

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from evonas.train.optim.gradients import world_size


class _Summed(torch.autograd.Function):
    """The sum over ranks. Its gradient is the sum of the ranks' gradients, since every rank uses it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ARG004
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


class SyncedNorm(nn.modules.batchnorm._BatchNorm):
    """A batch norm of any class whose statistics in training mode are those of all ranks' images together.

    The mean is shared first and the squared distances from it second: two small all-reduces,
    and no cancellation. Names of parameters and buffers are those of the class that it is mixed into, and with
    one rank the results are too. Ranks must see batches of equal size. What a class does beside normalising,
    such as an activation, stays its own: it is given the normalised maps and statistics that leave them alone.
    """

    def forward(self, input: Float[Tensor, "B C ..."]) -> Float[Tensor, "B C ..."]:
        """The normalised maps, in the dtype of the input."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        x = input if input.dtype == torch.float64 else input.float()
        axes = [axis for axis in range(x.ndim) if axis != 1]
        per_channel = (1, -1) + (1,) * (x.ndim - 2)
        count = world_size() * x.numel() // x.shape[1]
        mean = _Summed.apply(x.sum(axes)) / count
        centred = x - mean.view(per_channel)
        variance = _Summed.apply(centred.square().sum(axes)) / count
        if self.track_running_stats:
            self._track(mean.detach(), variance.detach() * count / max(1, count - 1))
        normal = centred * torch.rsqrt(variance + self.eps).view(per_channel)
        if not _only_normalises(cast(Any, type(self))):
            return self._behind(normal).to(input.dtype)
        if self.affine:
            normal = normal * self.weight.view(per_channel) + self.bias.view(per_channel)
        return normal.to(input.dtype)

    def _behind(self, normal: Tensor) -> Tensor:
        """The class's own forward on maps that are normalised already."""
        kept = self.running_mean, self.running_var, self.training
        self.running_mean = torch.zeros(normal.shape[1], dtype=normal.dtype, device=normal.device)
        self.running_var = torch.full_like(self.running_mean, 1.0 - self.eps)
        self.training = False
        try:
            return super().forward(normal)
        finally:
            self.running_mean, self.running_var, self.training = kept

    @torch.no_grad()
    def _track(self, mean: Float[Tensor, " C"], variance: Float[Tensor, " C"]) -> None:
        """As torch's classes do: momentum None means the plain average so far."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        factor = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), factor)
        self.running_var.lerp_(variance.to(self.running_var.dtype), factor)


class SyncedBatchNorm2d(SyncedNorm, nn.BatchNorm2d):
    """`nn.BatchNorm2d` over all ranks' images."""


def synchronise(module: nn.Module) -> None:
    """Let every batch norm inside share its statistics among ranks, whatever its class, in place."""
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and not isinstance(norm, SyncedNorm):
            norm.__class__ = _synced(cast(Any, type(norm)))


@cache
def _synced(kind: Any) -> Any:
    if kind is nn.BatchNorm2d:
        return SyncedBatchNorm2d
    return type(f"Synced{kind.__name__}", (SyncedNorm, kind), {})


@cache
def _only_normalises(kind: Any) -> bool:
    own = next(each for each in kind.__mro__ if "forward" in vars(each) and not issubclass(each, SyncedNorm))
    return own is nn.modules.batchnorm._BatchNorm
