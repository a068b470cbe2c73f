"""mmdet's Faster R-CNN and Mask R-CNN as detection heads.

Legend: B batch, C classes, R regions, S side of a mask, H W space.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evonas.mm import extension, settings
from evonas.mm.regions import MMDetRegions
from evonas.nn.detection.anchors import anchors
from evonas.nn.detection.pooling import pooled
from evonas.nn.detection.proposals import Proposals, flattened, proposed
from evonas.nn.detection.rcnn import BOX_SIDE, MASK_SIDE, RCNN
from evonas.nn.level import Level
from evonas.nn.necks.registry import made


class MMDetRCNN(RCNN):
    """mmdet's RPN, box and mask heads with mmdet's assignment, sampling and losses.

    Inference follows the steps of `RCNN`, with fixed numbers of proposals, through mmdet's layers; on a CPU the
    outputs equal those of mmdet's test settings. With 80 classes, masks and a pyramid of width 256 the head has
    17 543 920 parameters besides its neck.

    Args:
        levels: of the backbone, finest first.
        num_classes: without the background.
        neck: builds the pyramid from the levels, or the description of a neck from `settings`.
        options: further keywords of `RCNN`; `training_proposals` is 1000 here, as in mmdet.

    Raises:
        UserError: mmdet is not installed, or the installed releases do not fit.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        num_classes: int,
        neck: Callable[..., nn.Module] | Mapping[str, Any],
        masks: bool = False,
        training_proposals: int = 1000,
        **options: Any,
    ) -> None:
        extension.load("mmdet", "head=mmdet_mask_rcnn" if masks else "head=mmdet_faster_rcnn")
        super().__init__(levels, num_classes, neck, masks, training_proposals=training_proposals, **options)

    def _build(self, levels: Sequence[Level]) -> None:
        from mmdet.registry import MODELS, TASK_UTILS
        from mmengine.config import ConfigDict

        neck: Any = made(self.neck_made_by)(levels)
        self.neck = neck
        self.strides = [level.stride for level in neck.levels]
        self.pooled_strides = self.strides[: len(levels)]
        width = neck.levels[0].channels
        self.rpn: Any = MODELS.build(ConfigDict(settings.rpn_head(width, self.strides, self.anchor_scale)))
        # weights are built on the meta device here, but anchors are needed
        with torch.device("cpu"):
            generator = settings.anchors(self.strides, self.anchor_scale)
            self.rpn.prior_generator = TASK_UTILS.build(generator)
        sizes = (self.num_classes, self.hidden, self.samples, self.mask_side)
        self.roi: Any = MODELS.build(ConfigDict(settings.roi_head(width, self.pooled_strides, *sizes)))

    def regions(self, levels: list[Tensor]) -> MMDetRegions:
        """See the contract in `nn/detection/base.py`."""
        maps, size = self.pyramid(levels)
        return MMDetRegions(self, maps, size, self.rpn(maps))

    def searched(self, maps: list[Tensor], size: tuple[int, int], keep: int) -> Proposals:
        """The proposals of the RPN; see `proposed`."""
        objectness, offsets = self.rpn(maps)
        found = anchors(maps, self.strides, self.anchor_scale, settings.RATIOS)
        return proposed(flattened(objectness, 1), flattened(offsets, 4), found, size, keep)

    def predict_rois(
        self, maps: list[Tensor], rois: Float[Tensor, "R 5"]
    ) -> tuple[Float[Tensor, "R classes"], Float[Tensor, "R C 4"]]:
        """Class logits, the background last, and coded boxes of regions."""
        logits, coded = self.roi.bbox_head(self._read(self.roi.bbox_roi_extractor, maps, rois, BOX_SIDE))
        return logits.float(), coded.float().unflatten(1, (self.num_classes, 4))

    def masked(self, maps: list[Tensor], rois: Float[Tensor, "R 5"]) -> Float[Tensor, "R C S S"]:
        """Logits of a mask for each class, over regions."""
        cells = self._read(self.roi.mask_roi_extractor, maps, rois, MASK_SIDE // 2)
        logits: Tensor = self.roi.mask_head(cells)
        return logits.float()

    def _read(self, extractor: Any, maps: list[Tensor], rois: Tensor, side: int) -> Tensor:
        maps = maps[: len(self.pooled_strides)]
        if rois.is_meta or torch.compiler.is_exporting():
            return pooled(maps, self.pooled_strides, rois, side, settings.SAMPLES)
        cells: Tensor = extractor(tuple(each.float() for each in maps), rois)
        return cells
