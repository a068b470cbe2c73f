"""The paper's pyramid for mmdet's own configurations; importing this needs mmengine."""

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor

from evonas.mm.registry import MODELS
from evonas.nn.level import Level
from evonas.nn.necks.mamba_fpn import MambaFPN


@MODELS.register_module(name="MambaFPN")
class MambaNeck(BaseModule):
    """`MambaFPN` with the keywords of mmdet's FPN.

    Args:
        in_channels: of the maps, finest first.
        out_channels: width of every map of the pyramid.
        num_outs: maps of the pyramid; those beyond the backbone's are every second position of the last.
        options: further keywords of `MambaFPN`.
    """

    def __init__(
        self, in_channels: Sequence[int], out_channels: int = 256, num_outs: int = 5, **options: Any
    ) -> None:
        super().__init__(init_cfg=None)
        # the neck looks at sizes of maps alone, so strides may be any
        levels = [Level(channels, 4 << index) for index, channels in enumerate(in_channels)]
        self.neck = MambaFPN(levels, out_channels, extra=num_outs - len(levels), **options)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps finest first to the pyramid."""
        return tuple(self.neck(list(inputs)))
