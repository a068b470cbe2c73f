"""Frozen teachers with weights from a file of the user's, for networks that could also be trained here.

Legend: B batch, C channels, H W space.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from evonas import weights
from evonas.errors import DataError, UserError
from evonas.train.teachers.base import Maps
from evonas.train.teachers.transformers_models import FrozenNetwork

_KEY = "teacher.weights"
# parts that run in training alone
_UNUSED = ("head.auxiliary.",)


class FrozenTeacher(FrozenNetwork):
    """A complete teacher that is neither trained nor saved; see the contract in `base.py`.

    Args:
        network: a complete teacher with its weights loaded.
        source: the file that they come from.
    """

    def __init__(self, network: Any, source: Path) -> None:
        super().__init__(network, source)
        self.levels, self.has_output = network.levels, bool(network.has_output)

    def forward(self, x: Tensor) -> Tensor | None:
        """The output."""
        return self.forward_with_features(x)[0]

    @torch.no_grad()
    def forward_with_features(self, x: Tensor) -> tuple[Tensor | None, Maps]:
        """The output and the feature maps."""
        found: tuple[Tensor | None, Maps] = self.network.forward_with_features(x)
        return found


def frozen(network: nn.Module, path: Path, renames: Mapping[str, str]) -> FrozenTeacher:
    """The teacher with the weights of a file, whose names may have any prefix in common.

    Args:
        network: a complete teacher.
        path: safetensors, `.pth`, `.pt` or `.ckpt`.
        renames: beginnings of names in files and what the network calls them; the first that fits counts.

    Raises:
        UserError: there is no such file.
        DataError: it does not have all of the network's tensors in their shapes.
    """
    if not path.is_file():
        raise UserError(f"{_KEY}={path} is not a file.", "Check the path; evonas downloads nothing.")
    # a new network has counters of its own
    wanted = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and not name.startswith(_UNUSED)
    }
    found = max(
        _readings(weights.load_foreign(path), wanted, renames),
        key=lambda each: len(each.keys() & wanted.keys()),
    )
    missing = [name for name in wanted if name not in found]
    others = [name for name in wanted if name in found and found[name].shape != wanted[name].shape]
    if missing or others:
        why = f"lacks {len(missing)} of its {len(wanted)} tensors (first {missing[0]})" if missing else ""
        if others:
            here, there = (tuple(each[others[0]].shape) for each in (wanted, found))
            shapes = f"{others[0]} is {there} in the file and {here} in the network"
            why = f"{why}, and {shapes}" if why else f"has {len(others)} in another shape ({shapes})"
        raise DataError(
            f"{_KEY}={path} does not hold this teacher for this task: it {why}.",
            "Give the file of the same network and classes, or leave teacher.weights out and train the teacher.",
        )
    network.load_state_dict({name: found[name] for name in wanted}, strict=False)
    return FrozenTeacher(network, path)


def _readings(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], renames: Mapping[str, str]
) -> list[dict[str, Tensor]]:
    """The tensors under every prefix that puts the network's first tensor in its place, renamed."""
    first, readings = next(iter(wanted)), list[dict[str, Tensor]]()
    for given, own in {"": "", **renames}.items():
        start = given + first.removeprefix(own) if first.startswith(own) else first
        prefixes = {name.removesuffix(start) for name in tensors if name.endswith(start)}
        for prefix in sorted(prefixes) or [""]:
            below = {
                name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)
            }
            readings.append(
                {
                    own + name.removeprefix(given) if name.startswith(given) else name: each
                    for name, each in below.items()
                }
            )
    return readings
