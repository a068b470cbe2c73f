"""Synchronised batch norm on any backend of torch.distributed; `torch.nn.SyncBatchNorm` needs CUDA.

Legend: B batch, C channels.
"""

from functools import cache
from typing import Any, cast

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from evonas.train.optim.gradients import world_size


class _AllReduceSum(torch.autograd.Function):
    """The sum over ranks. The gradient is the sum of the gradients of all ranks, since each rank uses the sum."""

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
    """Mix-in for batch norm classes: in training mode, statistics are computed over the images of all ranks.

    Two small all-reduces compute the mean and then the squared distances from it, without cancellation. Names of
    parameters and buffers are those of the base class; with one rank its results are, too. All ranks must have
    batches of equal size. A base class that computes more than a normalisation, such as an activation, is applied to
    the normalised maps with neutral statistics.
    """

    def forward(self, input: Float[Tensor, "B C ..."]) -> Float[Tensor, "B C ..."]:
        """The normalised maps in the dtype of the input."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        x = input if input.dtype == torch.float64 else input.float()
        axes = [axis for axis in range(x.ndim) if axis != 1]
        per_channel = (1, -1) + (1,) * (x.ndim - 2)
        count = world_size() * x.numel() // x.shape[1]
        mean = _AllReduceSum.apply(x.sum(axes)) / count
        centred = x - mean.view(per_channel)
        variance = _AllReduceSum.apply(centred.square().sum(axes)) / count
        if self.track_running_stats:
            self._update_statistics(mean.detach(), variance.detach() * count / max(1, count - 1))
        normal = centred * torch.rsqrt(variance + self.eps).view(per_channel)
        if not _only_normalises(cast(Any, type(self))):
            return self._base_forward(normal).to(input.dtype)
        if self.affine:
            normal = normal * self.weight.view(per_channel) + self.bias.view(per_channel)
        return normal.to(input.dtype)

    def _base_forward(self, normal: Tensor) -> Tensor:
        """The forward of the base class on normalised maps, with neutral statistics."""
        kept = self.running_mean, self.running_var, self.training
        self.running_mean = torch.zeros(normal.shape[1], dtype=normal.dtype, device=normal.device)
        self.running_var = torch.full_like(self.running_mean, 1.0 - self.eps)
        self.training = False
        try:
            return super().forward(normal)
        finally:
            self.running_mean, self.running_var, self.training = kept

    @torch.no_grad()
    def _update_statistics(self, mean: Float[Tensor, " C"], variance: Float[Tensor, " C"]) -> None:
        """Updates running statistics as torch does; momentum None means the cumulative average."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        factor = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), factor)
        self.running_var.lerp_(variance.to(self.running_var.dtype), factor)


class SyncedBatchNorm2d(SyncedNorm, nn.BatchNorm2d):
    """`nn.BatchNorm2d`, synchronised over ranks."""


def synchronise(module: nn.Module) -> None:
    """Synchronises every batch norm in `module` over ranks, in place, including those of subclasses."""
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
