"""The registry of what OpenMMLab's configurations find under `evonas.`, and the paper's neck in it.

Importing this needs mmengine.
"""

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from mmengine.registry import MODELS as ROOT
from mmengine.registry import Registry
from torch import Tensor

from evonas.nn.level import Level
from evonas.nn.necks.mamba_fpn import MambaFPN

# a child of mmengine's registry is visible to those of mmdet and mmseg
MODELS = Registry("model", parent=ROOT, scope="evonas")


@MODELS.register_module(name="MambaFPN")
class MambaNeck(BaseModule):
    """`MambaFPN` with the keywords of mmdet's FPN.

    Args:
        in_channels: of the maps, finest first.
        out_channels: width of every map of the pyramid.
        num_outs: maps of the pyramid; each one beyond those of the backbone subsamples the one before by 2.
        options: further keywords of `MambaFPN`.
    """

    def __init__(
        self, in_channels: Sequence[int], out_channels: int = 256, num_outs: int = 5, **options: Any
    ) -> None:
        super().__init__(init_cfg=None)
        # the neck uses the sizes of maps only, so any strides will do
        levels = [Level(channels, 4 << index) for index, channels in enumerate(in_channels)]
        self.neck = MambaFPN(levels, out_channels, extra=num_outs - len(levels), **options)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps finest first to the pyramid."""
        return tuple(self.neck(list(inputs)))
