"""Teachers: any network that shows its levels, with the task's own head on them."""

from collections.abc import Sequence
from typing import Any

import timm
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.level import Level


class TimmBody(nn.Module):
    """A timm network as a backbone: one map per level, whatever its architecture.

    Args:
        name: a timm model that supports `features_only`.
        indices: which of its feature levels are used, or None for all.
        drop_path: stochastic depth while it is trained.
    """

    def __init__(self, name: str, indices: Sequence[int] | None = None, drop_path: float = 0.0) -> None:
        super().__init__()
        options: dict[str, Any] = {} if indices is None else {"out_indices": tuple(indices)}
        if drop_path:
            options["drop_path_rate"] = drop_path
        try:
            self.network = timm.create_model(name, pretrained=False, features_only=True, **options)
        except (RuntimeError, AttributeError, ValueError) as error:
            raise UserError(f"teacher.name={name} is not a timm network with features: {error}") from error
        info: Any = self.network.feature_info
        pairs = zip(info.channels(), info.reduction(), strict=True)
        self.levels = tuple(Level(channels, stride) for channels, stride in pairs)

    def forward(self, x: Tensor) -> list[Tensor]:
        """One map per level, from fine to coarse."""
        return list(self.network(x))


class Teacher(nn.Module):
    """A body and a head; speaks the same language as a student."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x: Tensor) -> Tensor:
        """The raw output of the task's head."""
        return self.forward_with_features(x)[0]

    def forward_with_features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The raw output and the levels it was made of."""
        levels = self.body(x)
        return self.head(levels), levels
