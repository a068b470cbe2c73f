"""The settings of mmdet's and mmseg's heads, as their published base configurations have them.

Source: mmdet, configs/_base_/models/{faster,mask}-rcnn_r50_fpn.py, and mmseg,
configs/_base_/models/upernet_r50.py. What differs: regions are read through torchvision's RoIAlign, which
computes the same as mmcv's.
"""

from collections.abc import Sequence
from typing import Any

Settings = dict[str, Any]
RATIOS = (0.5, 1.0, 2.0)
# sampling points per side of a RoIAlign cell; 0 takes about one for each pixel of the map
SAMPLES = 0


def rpn_head(width: int, strides: Sequence[int], anchor_scale: float) -> Settings:
    """The proposal network, without training and test settings."""
    return {
        "type": "RPNHead",
        "in_channels": width,
        "feat_channels": width,
        "anchor_generator": anchors(strides, anchor_scale),
        "bbox_coder": _coder(1.0, 1.0),
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
        "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
        "train_cfg": {
            "assigner": _assigner(0.7, 0.3, 0.3, True),
            "sampler": _sampler(256, 0.5, False),
            "allowed_border": -1,
            "pos_weight": -1,
        },
        "test_cfg": {},
    }


def anchors(strides: Sequence[int], scale: float) -> Settings:
    """The anchor generator."""
    generator = {"type": "AnchorGenerator", "scales": [scale], "ratios": list(RATIOS)}
    return {**generator, "strides": list(strides)}


def training_proposals(keep: int) -> Settings:
    """How training proposals are chosen; twice as many of each level enter non-maximum suppression."""
    suppression = {"type": "nms", "iou_threshold": 0.7}
    return {"nms_pre": 2 * keep, "max_per_img": keep, "nms": suppression, "min_bbox_size": 0}


def roi_head(
    width: int, strides: Sequence[int], num_classes: int, hidden: int, samples: int, mask_side: int
) -> Settings:
    """The box head, and the mask head where `mask_side` is not 0."""
    loss = {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0}
    settings: Settings = {
        "type": "StandardRoIHead",
        "bbox_roi_extractor": _extractor(width, strides, 7),
        "bbox_head": {
            "type": "Shared2FCBBoxHead",
            "in_channels": width,
            "fc_out_channels": hidden,
            "roi_feat_size": 7,
            "num_classes": num_classes,
            "bbox_coder": _coder(0.1, 0.2),
            "reg_class_agnostic": False,
            "loss_cls": loss,
            "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
        },
        "train_cfg": {
            # as published: only with masks does the best region of an object count, however little it overlaps
            "assigner": _assigner(0.5, 0.5, 0.5, mask_side > 0),
            "sampler": _sampler(samples, 0.25, True),
            "mask_size": mask_side,
            "pos_weight": -1,
        },
        "test_cfg": {},
    }
    if mask_side:
        settings["mask_roi_extractor"] = _extractor(width, strides, mask_side // 2)
        settings["mask_head"] = {
            "type": "FCNMaskHead",
            "num_convs": 4,
            "in_channels": width,
            "conv_out_channels": 256,
            "num_classes": num_classes,
            "loss_mask": {"type": "CrossEntropyLoss", "use_mask": True, "loss_weight": 1.0},
        }
    return settings


def _extractor(width: int, strides: Sequence[int], side: int) -> Settings:
    layer = {"type": "RoIAlign", "output_size": side, "sampling_ratio": SAMPLES, "use_torchvision": True}
    return {
        "type": "SingleRoIExtractor",
        "roi_layer": layer,
        "out_channels": width,
        "featmap_strides": list(strides),
        # 56 pixels in mmdet, whose finest stride is 4
        "finest_scale": 14 * strides[0],
    }


def _coder(centre: float, side: float) -> Settings:
    deviations = [centre, centre, side, side]
    return {"type": "DeltaXYWHBBoxCoder", "target_means": [0.0] * 4, "target_stds": deviations}


def _assigner(positive: float, negative: float, least: float, takes_best: bool) -> Settings:
    return {
        "type": "MaxIoUAssigner",
        "pos_iou_thr": positive,
        "neg_iou_thr": negative,
        "min_pos_iou": least,
        "match_low_quality": takes_best,
        "ignore_iof_thr": -1,
    }


def _sampler(num: int, share: float, with_truth: bool) -> Settings:
    return {
        "type": "RandomSampler",
        "num": num,
        "pos_fraction": share,
        "neg_pos_ub": -1,
        "add_gt_as_proposals": with_truth,
    }


def decode_head(
    channels: Sequence[int], num_classes: int, width: int, dropout: float, bn_momentum: float
) -> Settings:
    """UPerNet's head, of whatever type."""
    return {
        "in_channels": list(channels),
        "in_index": list(range(len(channels))),
        "channels": width,
        "num_classes": num_classes,
        "dropout_ratio": dropout,
        "norm_cfg": {"type": "BN", "momentum": bn_momentum, "requires_grad": True},
        "align_corners": False,
        # tasks have losses of their own
        "loss_decode": {"type": "CrossEntropyLoss", "avg_non_ignore": True},
    }


def side_head(
    channels: Sequence[int], at: int, num_classes: int, width: int, dropout: float, bn_momentum: float
) -> Settings:
    """The auxiliary head on one level."""
    whole = decode_head(channels, num_classes, width, dropout, bn_momentum)
    return {
        **whole,
        "type": "FCNHead",
        "in_channels": channels[at],
        "in_index": at,
        "num_convs": 1,
        "concat_input": False,
    }
