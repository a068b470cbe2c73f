"""A light dense head for any backbone that yields levels.

Legend: B batch, C channels, H W space.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.nn.initialise import uninitialised
from evonas.nn.level import Level

_OUTPUTS = ("linear", "sigmoid")


class DenseHead(nn.Module):
    """Top-down decoder: 1x1 laterals, bilinear steps up, one separable convolution per level.

    Predicts at the finest level and interpolates to the input's size. Normalises over
    channels only, so it keeps no statistics that subnets would have to share.

    Args:
        levels: what the backbone yields, finest first.
        out_channels: channels of the output.
        width: channels inside.
        output: `sigmoid` bounds the output to (0, scale), `linear` leaves it free.
        scale: factor on the output, in the unit of the task (for depth: the largest, in m).
        seed: of the random weights.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        out_channels: int,
        width: int = 48,
        output: str = "linear",
        scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if output not in _OUTPUTS:
            raise UserError(f"A head cannot end in '{output}'.", "Choose output=linear or output=sigmoid.")
        self.output, self.scale, self.stride = output, scale, levels[0].stride
        with uninitialised(self, seed):
            self._build([level.channels for level in levels], width, out_channels)

    def _build(self, channels: Sequence[int], width: int, out_channels: int) -> None:
        self.laterals = nn.ModuleList(nn.Conv2d(dim, width, 1) for dim in channels)
        self.refines = nn.ModuleList(_Refine(width) for _ in channels[:-1])
        self.predict = nn.Conv2d(width, out_channels, 1)

    def forward(self, levels: list[Tensor]) -> Float[Tensor, "B C_out H W"]:
        """Args: levels: maps finest first; the output's size is the finest map's times its stride."""
        x = self.cells(levels)
        x = _resize(x, [side * self.stride for side in x.shape[-2:]])
        return self.scale * x.sigmoid() if self.output == "sigmoid" else self.scale * x

    def cells(self, levels: list[Tensor]) -> Float[Tensor, "B C_out H_cell W_cell"]:
        """What is predicted at the finest level, before it is interpolated and scaled."""
        x = self.laterals[-1](levels[-1])
        for index in reversed(range(len(levels) - 1)):
            lateral = self.laterals[index](levels[index])
            x = self.refines[index](lateral + _resize(x, lateral.shape[-2:]))
        predicted: Tensor = self.predict(x)
        return predicted


class _Refine(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.space = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + F.gelu(self.mix(self.space(y)))


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
