"""A classification head: the mean of the deepest level, then one linear layer.

Legend: B batch, C classes, D channels of the deepest level.
"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.initialise import uninitialised
from evonas.nn.level import Level


class Classifier(nn.Module):
    """Logits from the mean over space of the last level; coarser and finer levels are not read.

    Our backbones normalise their levels already, and VSSD's published classifier is norm,
    mean, linear; so `norm` is for backbones that yield raw features.

    Args:
        levels: what the backbone yields, finest first.
        out_channels: classes.
        output: `linear`, the only kind of logits there is.
        norm: a LayerNorm between mean and linear layer.
        seed: of the random weights.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        out_channels: int,
        output: str = "linear",
        norm: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if output != "linear":
            raise UserError(f"A classifier cannot end in '{output}'.", "Use head=light for dense tasks.")
        channels = levels[-1].channels
        with uninitialised(self, seed):
            self.norm = nn.LayerNorm(channels) if norm else nn.Identity()
            self.linear = nn.Linear(channels, out_channels)

    @property
    def settings(self) -> dict[str, Any]:
        """The keywords besides `levels` and `seed` that make such a head again, as plain values."""
        return {"out_channels": self.linear.out_features, "norm": isinstance(self.norm, nn.LayerNorm)}

    def forward(self, levels: list[Tensor]) -> Float[Tensor, "B C"]:
        """Args: levels: maps B D H W finest first; only the last one is read."""
        return self.linear(self.norm(levels[-1].mean(dim=(-2, -1))))
