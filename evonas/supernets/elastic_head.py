"""Heads that are narrower for narrower networks; all others are shared whole.

Levels may be narrower in two ways, and a head may know of both:

- They keep their channels, of which the last ones are zero. The head has a method `narrower(widths)`: the shapes of the
  tensors that differ in the head of a network whose levels have `widths` channels. The narrower head has the first
  entries of each axis. A head without it reads the zeros.
- They lose channels (`base.level_pieces`). The head has a method `level_tensors()`: for each level (name, axis) of the
  tensors that have an entry for each of its channels. The narrower head has the entries of the channels that are left,
  and of further tensors the first ones that `narrower` says. A head without `level_tensors` is refused.
"""

import copy
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from evonas.errors import UserError
from evonas.supernets.base import Cut, LevelChannels, SupernetFamily, level_channels
from evonas.supernets.slices import bound, cut

# what layers say of their sizes, by axis of their weight
_SIZES = ((nn.Conv2d, "in_channels", 1), (nn.Linear, "in_features", 1), (nn.LayerNorm, "normalized_shape", 0))


def is_elastic(head: nn.Module) -> bool:
    """Whether a head is narrower for narrower networks."""
    return hasattr(head, "narrower") or hasattr(head, "level_tensors")


def check_head(family: SupernetFamily, head: nn.Module) -> None:
    """Raises a UserError if some levels of a family lose channels and the head cannot."""
    if hasattr(family, "level_pieces"):
        head_cuts(head, level_channels(family, family.space.smallest()))


def level_tensors(head: nn.Module) -> Sequence[Sequence[tuple[str, int]]]:
    """For each level (name, axis) of the head's tensors with an entry for each of the level's channels.

    Raises:
        UserError: the head cannot be narrower.
    """
    if not hasattr(head, "level_tensors"):
        raise UserError(
            f"The levels of these networks lose channels, and {type(head).__name__} cannot be narrower.",
            "Choose head=light, head=classifier or head=fcn, or leave space.streams out.",
        )
    found: Callable[[], Sequence[Sequence[tuple[str, int]]]] = head.level_tensors  # type: ignore[assignment]
    return found()


def subnet_head(head: nn.Module, channels: LevelChannels) -> nn.Module:
    """The head of a network with levels of these channels, bound to slices of the shared tensors."""
    cuts = head_cuts(head, channels)
    return bound(head, cuts, (), _settings(head, cuts)) if cuts else head


def own_head(head: nn.Module, channels: LevelChannels) -> nn.Module:
    """A copy of the head of a network with levels of these channels, with tensors of its own."""
    made, cuts = copy.deepcopy(head), head_cuts(head, channels)
    for name, each in cuts.items():
        owner, _, key = name.rpartition(".")
        module = made.get_submodule(owner)
        tensor = cut(_tensor(made, name).detach(), each).clone()
        if key in module._parameters:
            module._parameters[key] = nn.Parameter(tensor)
        else:
            module._buffers[key] = tensor
    for name, values in _settings(head, cuts).items():
        made.get_submodule(name).__dict__.update(values)
    return made


def head_cuts(head: nn.Module, channels: LevelChannels) -> dict[str, tuple[Cut, ...]]:
    """The slices of a head's tensors, by name, for levels of these channels; the others are shared whole."""
    found: dict[str, tuple[Cut, ...]] = {}
    if hasattr(head, "narrower"):
        shapes: Callable[[Sequence[int]], Mapping[str, tuple[int, ...]]] = head.narrower  # type: ignore[assignment]
        found = {
            name: tuple(
                Cut(axis, ((0, kept),))
                for axis, (full, kept) in enumerate(zip(_tensor(head, name).shape, shape, strict=True))
                if kept != full
            )
            for name, shape in shapes(channels.filled).items()
        }
    if channels.pieces is None:
        return found
    for tensors, pieces in zip(level_tensors(head), channels.pieces, strict=True):
        for name, axis in tensors:
            others = tuple(each for each in found.get(name, ()) if each.axis != axis)
            if pieces != ((0, _tensor(head, name).shape[axis]),):
                found[name] = tuple(sorted((*others, Cut(axis, pieces)), key=lambda each: each.axis))
    return found


def _settings(
    head: nn.Module, cuts: Mapping[str, tuple[Cut, ...]]
) -> dict[str, dict[str, int | tuple[int, ...]]]:
    """Sizes that layers keep beside the weights that are cut."""
    found: dict[str, dict[str, int | tuple[int, ...]]] = {}
    for name, each in cuts.items():
        owner, _, key = name.rpartition(".")
        for kind, attribute, axis in _SIZES:
            sizes = [sum(length for _, length in one.pieces) for one in each if one.axis == axis]
            if key == "weight" and sizes and isinstance(head.get_submodule(owner), kind):
                size: int | tuple[int, ...] = (sizes[0],) if kind is nn.LayerNorm else sizes[0]
                found.setdefault(owner, {})[attribute] = size
    return found


def _tensor(module: nn.Module, name: str) -> Tensor:
    owner, _, key = name.rpartition(".")
    found: Tensor = getattr(module.get_submodule(owner), key)
    return found
