"""What the checks of groups do with a model's tensors, and how its outputs are compared."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from evonas.supernets.elastic_timm.order import relabelled
from evonas.supernets.elastic_timm.structure import Group, UnitAxis
from evonas.supernets.elastic_timm.taint import LAYERS

_TOLERANCE = 1e-4
# what a model may raise that cannot be run without some of its channels
ERRORS = (RuntimeError, ValueError, TypeError, AssertionError, IndexError)


@contextmanager
def changed(
    model: nn.Module,
    group: Group,
    change: Callable[[UnitAxis, int, Tensor], Tensor],
    only: frozenset[str] | None = None,
) -> Iterator[None]:
    """The model with the tensors of a group, or those of its readers, changed along its axes."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    before = {axis.tensor: tensors[axis.tensor].detach().clone() for axis in group.axes}
    try:
        for axis in group.axes:
            if only is None or (axis.tensor in only and axis.axis == 1):
                tensors[axis.tensor].data.copy_(change(axis, group.units, tensors[axis.tensor].data))
        yield
    finally:
        for name, old in before.items():
            tensors[name].data.copy_(old)


def permuted(axis: UnitAxis, units: int, tensor: Tensor) -> Tensor:
    """A tensor whose units are in another order, always the same one."""
    order = torch.randperm(units, generator=torch.Generator().manual_seed(units))
    return relabelled(tensor, axis, order)


def second_half_zero(axis: UnitAxis, units: int, tensor: Tensor) -> Tensor:
    """A tensor with zeros in the second half of its units."""
    gone = torch.cat([torch.arange(start, end) for start, end in axis.behind(units // 2, units)])
    return tensor.index_fill(axis.axis, gone, 0.0)


def close(one: Tensor, other: Tensor) -> bool:
    """Whether two outputs are equal up to rounding."""
    scale = float(other.abs().max())
    return bool(((one - other).abs().max() <= _TOLERANCE * scale).item())


def averages(module: nn.Module | None) -> bool:
    """Whether what a module does to a channel depends on the others that it is given."""
    if module is None or isinstance(module, nn.modules.batchnorm._NormBase):
        return False
    # weights are standardised over what they read
    return not isinstance(module, LAYERS) or "Std" in type(module).__name__


def first_line(error: Exception) -> str:
    """The beginning of an error's message."""
    return str(error).partition("\n")[0][:120]
