"""A decode head for mmseg's own configurations; importing this needs mmseg.

Legend: B batch, C channels or classes, H W space.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from evonas.mm.necks import MODELS
from evonas.nn.necks.mamba_fpn import TopDown, resized


@MODELS.register_module()
class MambaUPerHead(BaseDecodeHead):
    """UPerHead with the paper's top-down path in place of pooled grids and laterals: UPerHead_with_mamba.

    Args:
        pool_sizes: cells per side of the pooled grids.
        mlp_ratio: hidden width of the SASF blocks' MLPs over their width.
        options: keywords of mmseg's decode heads.
    """

    def __init__(self, pool_sizes: Sequence[int] = (20, 12), mlp_ratio: float = 4.0, **options: Any) -> None:
        super().__init__(input_transform="multiple_select", **options)
        momentum = (self.norm_cfg or {}).get("momentum", 0.1)
        self.top_down = TopDown(self.in_channels, pool_sizes, mlp_ratio, momentum)
        self.fpn_convs = nn.ModuleList(self._conv(dim) for dim in self.in_channels)
        self.fpn_bottleneck = self._conv(len(self.in_channels) * self.channels)

    def _conv(self, inner: int) -> ConvModule:
        options = {"conv_cfg": self.conv_cfg, "norm_cfg": self.norm_cfg, "act_cfg": self.act_cfg}
        return ConvModule(inner, self.channels, 3, padding=1, **options)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Maps finest first to logits B C H W of the finest map's size."""
        maps = self.top_down(self._transform_inputs(inputs))
        found = [conv(each) for conv, each in zip(self.fpn_convs, maps, strict=True)]
        size = found[0].shape[-2:]
        joined = torch.cat([found[0], *(resized(each, size) for each in found[1:])], dim=1)
        logits: Tensor = self.cls_seg(self.fpn_bottleneck(joined))
        return logits
