"""Heads that are narrower for narrower networks; all others are shared whole.

Such a head has a method `narrower(widths)`: the shapes of the tensors that differ in the head of a network whose levels
have `widths` channels. The narrower head has the first entries of each axis.
"""

import copy
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from evonas.supernets.base import Cut, Cuts
from evonas.supernets.slices import bound, cut


def is_elastic(head: nn.Module) -> bool:
    """Whether a head is narrower for narrower networks."""
    return hasattr(head, "narrower")


def subnet_head(head: nn.Module, widths: Sequence[int]) -> nn.Module:
    """The head of a network with levels of `widths` channels, bound to slices of the shared tensors."""
    cuts = _cuts(head, widths)
    return bound(head, cuts) if cuts else head


def own_head(head: nn.Module, widths: Sequence[int]) -> nn.Module:
    """A copy of the head of a network with levels of `widths` channels, with tensors of its own."""
    made = copy.deepcopy(head)
    for name, cuts in _cuts(head, widths).items():
        owner, _, key = name.rpartition(".")
        module = made.get_submodule(owner)
        tensor = cut(_tensor(made, name).detach(), cuts).clone()  # type: ignore[arg-type]
        if key in module._parameters:
            module._parameters[key] = nn.Parameter(tensor)
        else:
            module._buffers[key] = tensor
    return made


def _cuts(head: nn.Module, widths: Sequence[int]) -> Cuts:
    if not is_elastic(head):
        return {}
    shapes: Callable[[Sequence[int]], Mapping[str, tuple[int, ...]]] = head.narrower  # type: ignore[assignment]
    return {
        name: tuple(
            Cut(axis, ((0, kept),))
            for axis, (full, kept) in enumerate(zip(_tensor(head, name).shape, shape, strict=True))
            if kept != full
        )
        for name, shape in shapes(widths).items()
    }


def _tensor(module: nn.Module, name: str) -> Tensor:
    owner, _, key = name.rpartition(".")
    found: Tensor = getattr(module.get_submodule(owner), key)
    return found
