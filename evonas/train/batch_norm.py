"""Batch norm over the images of all ranks, on any backend of torch.distributed.

Legend: B batch, C channels, H W space. `torch.nn.SyncBatchNorm` needs CUDA; this one does not.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from evonas.train.gradients import world_size


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


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics in training mode are those of all ranks' images together.

    The mean is shared first and the squared distances from it second: two small all-reduces,
    and no cancellation. Names of parameters and buffers are those of `nn.BatchNorm2d`, and with
    one rank the results are too. Ranks must see batches of equal size.
    """

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The normalised maps, in the dtype of the input."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        x = input if input.dtype == torch.float64 else input.float()
        count = world_size() * x.numel() // x.shape[1]
        mean = _Summed.apply(x.sum((0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = _Summed.apply(centred.square().sum((0, 2, 3))) / count
        if self.track_running_stats:
            self._track(mean.detach(), variance.detach() * count / max(1, count - 1))
        normal = centred * torch.rsqrt(variance + self.eps)[:, None, None]
        if self.affine:
            normal = normal * self.weight[:, None, None] + self.bias[:, None, None]
        return normal.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Float[Tensor, " C"], variance: Float[Tensor, " C"]) -> None:
        """As `nn.BatchNorm2d` does: momentum None means the plain average so far."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        factor = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), factor)
        self.running_var.lerp_(variance.to(self.running_var.dtype), factor)


def synchronise(module: nn.Module) -> None:
    """Replace every `nn.BatchNorm2d` inside by one that shares its statistics, with the same tensors."""
    for name, child in list(module.named_children()):
        if type(child) is nn.BatchNorm2d:
            setattr(module, name, _synced(child))
        else:
            synchronise(child)


def _synced(norm: nn.BatchNorm2d) -> SyncedBatchNorm2d:
    made = SyncedBatchNorm2d(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
    )
    made._parameters, made._buffers = norm._parameters, norm._buffers
    return made.train(norm.training)
