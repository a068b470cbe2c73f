"""Faster R-CNN and Mask R-CNN heads, built from torchvision's parts.

Legend: B batch, C classes, K detections, P proposals, R regions, S side of a mask, H W space.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import clip_boxes_to_image

from evonas.nn.detection.anchors import anchors
from evonas.nn.detection.base import EMPTY, RegionHead, Regions, input_size
from evonas.nn.detection.boxes import coded_from, rois_of, worth_keeping
from evonas.nn.detection.pooling import pooled
from evonas.nn.detection.proposals import Proposals, flattened, proposed
from evonas.nn.detection.regions import RCNNRegions
from evonas.nn.detection.suppression import survivors
from evonas.nn.initialise import uninitialised
from evonas.nn.level import Level
from evonas.nn.necks.registry import described, made

RATIOS = (0.5, 1.0, 2.0)
BOX_SIDE, MASK_SIDE = 7, 28
_MASK_WIDTH = 256
_OVERLAP = 0.5
# maximum number of scored boxes per image in the final suppression
_CANDIDATES = 2000


class RCNN(RegionHead):
    """Region proposal network, box head of two layers, and optionally a mask head (He et al., arXiv 1703.06870).

    With 80 classes, masks and a pyramid of width 256 it has 17 543 920 parameters without its neck. The numbers of
    proposals and detections are fixed, so that every image has the same cost.

    Args:
        levels: levels of the backbone, finest first.
        num_classes: number of classes without background.
        neck: constructor of the pyramid, or its description as in `settings`.
        masks: whether the head predicts masks.
        hidden: width of the box head.
        anchor_scale: side of a square anchor in strides.
        proposals: proposals per image in eval mode.
        training_proposals: proposals per image in training.
        samples: sampled training regions per image.
        detections: rows of the output per image.
        score_threshold: minimum score of a detection.
        seed: seed of the random weights.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        num_classes: int,
        neck: Callable[..., nn.Module] | Mapping[str, Any],
        masks: bool = False,
        hidden: int = 1024,
        anchor_scale: float = 8.0,
        proposals: int = 1000,
        training_proposals: int = 2000,
        samples: int = 512,
        detections: int = 100,
        score_threshold: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__(num_classes, detections, MASK_SIDE if masks else 0)
        self.anchor_scale, self.score_threshold = anchor_scale, score_threshold
        self.proposals, self.training_proposals, self.samples = proposals, training_proposals, samples
        self.neck_made_by, self.hidden = neck, hidden
        self.input_stride = levels[0].stride
        with uninitialised(self, seed):
            built: Any = made(neck)(levels)
            self.neck = built
            self.strides = [level.stride for level in built.levels]
            # proposals use all maps of the neck, RoI pooling those at the backbone's levels
            self.pooled_strides = self.strides[: len(levels)]
            width = built.levels[0].channels
            # convolutions, matching and losses; `proposed` selects proposals
            self.rpn = RegionProposalNetwork(
                anchor_generator=None,
                head=RPNHead(width, len(RATIOS)),
                fg_iou_thresh=0.7,
                bg_iou_thresh=0.3,
                batch_size_per_image=256,
                positive_fraction=0.5,
                pre_nms_top_n={},
                post_nms_top_n={},
                nms_thresh=0.7,
            )
            # matching and sampling of training regions, without weights
            self.matching = RoIHeads(
                box_roi_pool=None,
                box_head=None,
                box_predictor=None,
                fg_iou_thresh=0.5,
                bg_iou_thresh=0.5,
                batch_size_per_image=samples,
                positive_fraction=0.25,
                bbox_reg_weights=None,
                score_thresh=0.05,
                nms_thresh=_OVERLAP,
                detections_per_img=100,
            )
            self.box = TwoMLPHead(width * BOX_SIDE**2, hidden)
            self.classes = nn.Linear(hidden, num_classes + 1)
            self.offsets = nn.Linear(hidden, 4 * num_classes)
            if masks:
                self.mask = nn.Sequential(
                    MaskRCNNHeads(width, (_MASK_WIDTH,) * 4, 1),
                    MaskRCNNPredictor(_MASK_WIDTH, _MASK_WIDTH, num_classes),
                )

    @property
    def settings(self) -> dict[str, Any]:
        """Constructor keywords except `levels` and `seed`, as JSON data."""
        names = ("num_classes", "hidden", "anchor_scale", "proposals", "training_proposals")
        more = ("samples", "detections", "score_threshold")
        plain = {name: getattr(self, name) for name in (*names, *more)}
        return {**plain, "masks": bool(self.mask_side), "neck": described(self.neck_made_by)}

    def pyramid(self, levels: list[Tensor]) -> tuple[list[Tensor], tuple[int, int]]:
        """The neck's maps, and the height and width of the images."""
        maps: list[Tensor] = self.neck(levels)
        return maps, input_size(levels, self.input_stride)

    def searched(self, maps: list[Tensor], size: tuple[int, int], keep: int) -> Proposals:
        """The proposals of the proposal network; see `proposed`."""
        objectness, offsets = self.rpn.head(maps)
        found = anchors(maps, self.strides, self.anchor_scale, RATIOS)
        return proposed(flattened(objectness, 1), flattened(offsets, 4), found, size, keep)

    def predict_rois(
        self, maps: list[Tensor], rois: Float[Tensor, "R 5"]
    ) -> tuple[Float[Tensor, "R classes"], Float[Tensor, "R C 4"]]:
        """Class logits, background last, and coded boxes of regions."""
        hidden = self.box(pooled(maps[: len(self.pooled_strides)], self.pooled_strides, rois, BOX_SIDE))
        offsets = self.offsets(hidden).float()
        return self.classes(hidden).float(), offsets.unflatten(1, (self.num_classes, 4))

    def masked(self, maps: list[Tensor], rois: Float[Tensor, "R 5"]) -> Float[Tensor, "R C S S"]:
        """Mask logits per class of regions."""
        cells = pooled(maps[: len(self.pooled_strides)], self.pooled_strides, rois, MASK_SIDE // 2)
        logits: Tensor = self.mask(cells)
        return logits.float()

    def regions(self, levels: list[Tensor]) -> Regions:
        """See the contract in `base.py`."""
        maps, size = self.pyramid(levels)
        return RCNNRegions(self, maps, self.searched(maps, size, self.training_proposals))

    @torch.no_grad()
    def detect(self, levels: list[Tensor]) -> Float[Tensor, "B K columns"]:
        """See the contract in `base.py`."""
        maps, size = self.pyramid(levels)
        proposals = self.searched(maps, size, self.proposals)
        boxes, scores, labels = self._scored(maps, proposals, size)
        boxes, scores, labels = self._best(boxes, scores, labels)
        found = (scores > 0).unsqueeze(-1)
        labels = torch.where(found, labels.unsqueeze(-1).to(scores), float(EMPTY))
        rows = [boxes * found, scores.unsqueeze(-1), labels]
        if self.mask_side:
            rows.append(self._masks(maps, rows[0], labels) * found)
        return torch.cat(rows, dim=-1)

    def _scored(
        self, maps: list[Tensor], proposals: Proposals, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and classes of all pairs of a proposal and a class; a zero score marks no detection."""
        batch, count = proposals.alive.shape
        rois = rois_of(proposals.boxes)
        logits, coded = self.predict_rois(maps, rois)
        boxes = clip_boxes_to_image(coded_from(coded, rois[:, 1:]), size).view(batch, -1, 4)
        scores = logits.softmax(dim=1)[:, :-1].reshape(batch, count, self.num_classes)
        scores = (scores * proposals.alive.unsqueeze(-1)).flatten(1)
        scores = scores * (scores > self.score_threshold) * worth_keeping(boxes)
        labels = torch.arange(self.num_classes, device=scores.device).repeat(count).expand(batch, -1)
        return boxes, scores, labels

    def _best(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The K best boxes after suppression per class, by descending score."""
        boxes, scores, labels = _top(_CANDIDATES, boxes, scores, labels)
        scores = scores * survivors(boxes, scores, labels, _OVERLAP)
        missing = max(0, self.detections - scores.shape[1])
        boxes, scores, labels = _top(self.detections, boxes, scores, labels)
        return F.pad(boxes, (0, 0, 0, missing)), F.pad(scores, (0, missing)), F.pad(labels, (0, missing))

    def _masks(self, maps: list[Tensor], boxes: Tensor, labels: Tensor) -> Float[Tensor, "B K pixels"]:
        """Mask probabilities of each row's class."""
        logits = self.masked(maps, rois_of(boxes))
        chosen = labels.clamp_min(0).long().view(-1, 1, 1, 1).expand(-1, 1, MASK_SIDE, MASK_SIDE)
        return logits.gather(1, chosen).sigmoid().view(*boxes.shape[:2], -1)


def _top(count: int, boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    best, places = scores.topk(min(count, scores.shape[1]), dim=1)
    return boxes.gather(1, places.unsqueeze(-1).expand(-1, -1, 4)), best, labels.gather(1, places)
