"""A stand-in for mmcv's compiled operations, written on torchvision's.

It is registered by `stack.load` alone, before mmcv is imported, and only where mmcv came without its
extension. It has what Mask R-CNN, Faster R-CNN, RetinaNet and UPerNet compute; any other operation is
refused by name when it is called.

Legend: N boxes, C channels or classes, R regions, S side of a pooled region, H W space.
"""

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

import torch
from torch import Tensor
from torchvision import ops

from evonas.errors import UserError
from evonas.mm.installed import has_compiled_ops

_NAME = "mmcv._ext"


class Extension(ModuleType):
    """What mmcv takes for its extension."""

    def __init__(self) -> None:
        super().__init__(_NAME, "Operations on torchvision in place of mmcv's compiled ones.")
        self.__spec__ = ModuleSpec(_NAME, loader=None)
        for operation in (
            nms,
            softnms,
            roi_align_forward,
            roi_align_backward,
            sigmoid_focal_loss_forward,
            sigmoid_focal_loss_backward,
        ):
            setattr(self, operation.__name__, operation)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def refused(*_: Any, **__: Any) -> NoReturn:
            raise UserError(
                f"mmcv's operation '{name}' works with its compiled extension alone, which is not here.",
                "Build mmcv with its operations: MMCV_WITH_OPS=1 pip install --no-build-isolation onedl-mmcv",
            )

        return refused


def stand_in() -> bool:
    """Register the stand-in unless mmcv has an extension of its own; true where the stand-in is used."""
    if not has_compiled_ops():
        sys.modules.setdefault(_NAME, Extension())
    return isinstance(sys.modules.get(_NAME), Extension)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Kept indices by falling score; with offset 1 a box reaches over its last pixel."""
    return ops.nms(_reaching(boxes, offset), scores, iou_threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (arXiv 1704.04503): writes N 5 boxes and lowered scores, returns the indices that remain.

    Args:
        dets: written from its first row on, as many rows as there are indices.
        method: 0 drops, 1 lowers linearly in the IoU, 2 by a Gaussian of width `sigma`.
    """
    reach, lowered, kept = _reaching(boxes, offset), scores.clone(), list[int]()
    left = torch.ones_like(scores, dtype=torch.bool)
    while left.any():
        best = int(torch.where(left, lowered, -torch.inf).argmax())
        dets[len(kept), :4], dets[len(kept), 4] = boxes[best], lowered[best]
        kept.append(best)
        left[best] = False
        iou = ops.box_iou(reach[best : best + 1], reach)[0]
        lowered = torch.where(left, lowered * _factor(iou, iou_threshold, sigma, method), lowered)
        left &= lowered >= min_score
    return torch.tensor(kept, dtype=torch.long)


def _factor(iou: Tensor, threshold: float, sigma: float, method: int) -> Tensor:
    if method == 2:
        return torch.exp(-iou.square() / sigma)
    return torch.where(iou > threshold, 1 - iou if method == 1 else torch.zeros_like(iou), 1.0)


def _reaching(boxes: Tensor, offset: int) -> Tensor:
    return torch.cat((boxes[:, :2], boxes[:, 2:] + offset), dim=1)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,  # noqa: ARG001
    argmax_x: Tensor,  # noqa: ARG001
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write R C S S averages of the maps into `output`; the maximum (pool_mode 0) is refused."""
    if pool_mode != 1:
        raise UserError(
            "RoIAlign with pool_mode='max' needs mmcv's compiled extension.", "Use pool_mode='avg'."
        )
    size = (aligned_height, aligned_width)
    output.copy_(ops.roi_align(input, rois, size, spatial_scale, sampling_ratio, aligned))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,  # noqa: ARG001
    argmax_x: Tensor,  # noqa: ARG001
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,  # noqa: ARG001
    aligned: bool,
) -> None:
    """Write the slope of the maps into `grad_input`; averaging is linear, so it needs no maps."""
    maps = torch.zeros_like(grad_input, requires_grad=True)
    with torch.enable_grad():
        size = (aligned_height, aligned_width)
        pooled = ops.roi_align(maps, rois, size, spatial_scale, sampling_ratio, aligned)
    grad_input.copy_(torch.autograd.grad(pooled, maps, grad_output)[0])


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write N C focal losses (arXiv 1708.02002); C is background, `weight` is by class or empty."""
    output.copy_(_focal(input, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the slope of each loss by its own logit."""
    logits = input.detach().requires_grad_()
    with torch.enable_grad():
        total = _focal(logits, target, weight, gamma, alpha).sum()
    grad_input.copy_(torch.autograd.grad(total, logits)[0])


def _focal(logits: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    wanted = (target[:, None] == torch.arange(logits.shape[1], device=logits.device)).to(logits.dtype)
    losses = ops.sigmoid_focal_loss(logits, wanted, alpha, gamma)
    if not weight.numel():
        return losses
    return losses * weight[target.clamp_max(len(weight) - 1)][:, None]
