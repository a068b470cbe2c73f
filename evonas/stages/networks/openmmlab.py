"""Exported networks as backbones of OpenMMLab's own configurations; importing this needs mmengine.

A configuration of mmdet or mmseg says

    custom_imports = dict(imports=["evonas.stages.networks.openmmlab"])
    backbone = dict(type="evonas.ExportedBackbone", checkpoint="<folder of stage=export>")

and may name `evonas.MambaFPN` as its neck, or `evonas.MambaUPerHead` as its decode head.

Legend: B batch, C channels, H W space.
"""

from collections.abc import Sequence
from pathlib import Path

from evonas.mm import installed
from evonas.mm.extension import stand_in

stand_in()

from mmengine.model import BaseModule  # noqa: E402
from torch import Tensor  # noqa: E402

from evonas.mm.necks import MODELS  # noqa: E402
from evonas.stages.networks.exported import feature_indices, load_backbone  # noqa: E402
from evonas.supernets.families import FORMER_TYPES  # noqa: E402
from evonas.supernets.resolution import at_full_size  # noqa: E402

if "mmseg" in installed.packages():
    from evonas.mm import decode_heads  # noqa: F401


@MODELS.register_module(name=["ExportedBackbone", *FORMER_TYPES])
class ExportedBackbone(BaseModule):
    """The backbone of an export with its weights; images are normalised by ImageNet's mean and deviation.

    A data preprocessor with mean [123.675, 116.28, 103.53], std [58.395, 57.12, 57.375] and bgr_to_rgb=True does
    this. `out_channels` and `strides` describe the returned maps.

    Args:
        checkpoint: folder made by stage=export.
        out_indices: levels that are returned, 0 for the finest; None for all.
        frozen: whether weights and batch-norm statistics are fixed.

    Raises:
        DataError: the folder is not an export.
        UserError: there is no such level.
    """

    def __init__(
        self, checkpoint: str, out_indices: Sequence[int] | None = None, frozen: bool = False
    ) -> None:
        super().__init__(init_cfg=None)
        self.trunk = load_backbone(Path(checkpoint))
        levels = self.trunk.levels
        self.out_indices = feature_indices(self.trunk, out_indices)
        self.out_channels = [levels[index].channels for index in self.out_indices]
        self.strides = [levels[index].stride for index in self.out_indices]
        self.frozen = frozen
        self.trunk.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> "ExportedBackbone":
        """A frozen backbone stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.trunk.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images B 3 H W to one map for each of `out_indices`."""
        maps = at_full_size(self.trunk(x), self.trunk, x.shape[-2:])
        return tuple(maps[index] for index in self.out_indices)
