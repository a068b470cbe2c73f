"""Classification head: global average pooling of the deepest level and a linear layer.

Legend: B batch, C classes, D channels of the deepest level.
"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.initialise import uninitialised
from evonas.nn.level import Level


def check_output(output: str) -> None:
    """Raises a UserError unless the output of a classifier is `linear`, its logits."""
    if output != "linear":
        raise UserError(
            f"head.output must be linear for a classifier, got {output}.", "Use head=light for dense tasks."
        )


class Classifier(nn.Module):
    """Logits from the spatial mean of the last level; other levels are not used.

    EvoNet normalises its levels, as VSSD's published classifier does (norm, mean, linear), so `norm` is for backbones
    without output norm.

    Args:
        levels: levels of the backbone, finest first.
        out_channels: number of classes.
        output: must be `linear`.
        norm: whether a LayerNorm follows the mean.
        seed: seed of the random weights.
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
        check_output(output)
        channels, self._levels = levels[-1].channels, len(levels)
        with uninitialised(self, seed):
            self.norm = nn.LayerNorm(channels) if norm else nn.Identity()
            self.linear = nn.Linear(channels, out_channels)

    @property
    def settings(self) -> dict[str, Any]:
        """Constructor keywords except `levels` and `seed`, as JSON data."""
        return {"out_channels": self.linear.out_features, "norm": isinstance(self.norm, nn.LayerNorm)}

    def level_tensors(self) -> list[list[tuple[str, int]]]:
        """See `evonas.supernets.elastic_head`."""
        norm = [("norm.weight", 0), ("norm.bias", 0)] if isinstance(self.norm, nn.LayerNorm) else []
        return [*([] for _ in range(self._levels - 1)), [("linear.weight", 1), *norm]]

    def forward(self, levels: list[Tensor]) -> Float[Tensor, "B C"]:
        """Logits from maps B D H W, finest first; only the last one is used."""
        return self.linear(self.norm(levels[-1].mean(dim=(-2, -1))))
