"""Light dense prediction head for any backbone with levels.

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
    """Top-down decoder: 1x1 lateral convolutions, bilinear upsampling, one separable convolution per level.

    It predicts at the finest level and interpolates to the input's size. It uses LayerNorm over channels, without
    running statistics that subnets would share.

    Args:
        levels: levels of the backbone, finest first.
        out_channels: channels of the output.
        width: channels of all decoder maps.
        output: `sigmoid` bounds the output to (0, scale), `linear` does not.
        scale: factor of the output, in the unit of the task (for depth: the maximum in m).
        seed: seed of the random weights.
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
            raise UserError(f"head.output={output} is unknown.", "Choose output=linear or output=sigmoid.")
        self.output, self.scale, self.stride = output, scale, levels[0].stride
        with uninitialised(self, seed):
            self.laterals = nn.ModuleList(nn.Conv2d(level.channels, width, 1) for level in levels)
            self.refines = nn.ModuleList(_Refine(width) for _ in levels[:-1])
            self.predict = nn.Conv2d(width, out_channels, 1)

    def level_tensors(self) -> list[list[tuple[str, int]]]:
        """See `evonas.supernets.elastic_head`."""
        return [[(f"laterals.{at}.weight", 1)] for at in range(len(self.laterals))]

    def forward(self, levels: list[Tensor]) -> Float[Tensor, "B C_out H W"]:
        """The prediction from maps, finest first; its size is that of the finest map times its stride."""
        x = self.cells(levels)
        x = _resize(x, [side * self.stride for side in x.shape[-2:]])
        return self.scale * x.sigmoid() if self.output == "sigmoid" else self.scale * x

    def cells(self, levels: list[Tensor]) -> Float[Tensor, "B C_out H_cell W_cell"]:
        """The prediction at the finest level, before interpolation and scaling."""
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
