"""Loads OpenMMLab's packages, with torchvision's operations in place of mmcv's compiled ones where those are missing.

The stand-in is registered before mmcv is imported, and only if mmcv was installed without its extension. It
has the operations of Mask R-CNN, Faster R-CNN, RetinaNet and UPerNet; any other one is refused by name when it
is called.

Legend: N boxes, C channels or classes, R regions, S side of a pooled region, H W space.
"""

import importlib
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

import torch
from torch import Tensor
from torchvision import ops

from evonas.errors import UserError
from evonas.mm import installed

_NAME = "mmcv._ext"


class Extension(ModuleType):
    """Stands in for the module `mmcv._ext`."""

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
                f"mmcv's operation '{name}' needs its compiled extension, which is not installed.",
                "Build mmcv with its operations: MMCV_WITH_OPS=1 pip install --no-build-isolation onedl-mmcv",
            )

        return refused


def load(module: str, asked_by: str) -> None:
    """Import mmdet or mmseg with all that they register.

    Args:
        module: import name.
        asked_by: the option that needs it, for the message.

    Raises:
        UserError: it is not installed, or the installed releases do not fit.
    """
    packages = installed.packages()
    if module not in packages:
        raise UserError(f"{asked_by} needs {module}, which is not installed.", installed.INSTALL)
    wrong = list(installed.misfits(packages))
    if wrong:
        raise UserError(f"The OpenMMLab packages here do not fit: {wrong[0]}.", installed.INSTALL)
    stand_in()
    importlib.import_module(f"{module}.models")


def stand_in() -> bool:
    """Register the stand-in unless mmcv has its compiled extension; returns whether the stand-in is used."""
    if not installed.has_compiled_ops():
        sys.modules.setdefault(_NAME, Extension())
    return isinstance(sys.modules.get(_NAME), Extension)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the kept boxes by descending score; with offset 1 the last pixel belongs to a box."""
    return ops.nms(_shifted(boxes, offset), scores, iou_threshold)


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
    """Soft-NMS (arXiv 1704.04503): writes N 5 boxes with decayed scores, returns the indices that are kept.

    Args:
        dets: output; one row for each kept index.
        method: 0 removes boxes, 1 decays scores linearly in the IoU, 2 by a Gaussian of variance `sigma`.
    """
    shifted, lowered, kept = _shifted(boxes, offset), scores.clone(), list[int]()
    left = torch.ones_like(scores, dtype=torch.bool)
    while left.any():
        best = int(torch.where(left, lowered, -torch.inf).argmax())
        dets[len(kept), :4], dets[len(kept), 4] = boxes[best], lowered[best]
        kept.append(best)
        left[best] = False
        iou = ops.box_iou(shifted[best : best + 1], shifted)[0]
        lowered = torch.where(left, lowered * _factor(iou, iou_threshold, sigma, method), lowered)
        left &= lowered >= min_score
    return torch.tensor(kept, dtype=torch.long)


def _factor(iou: Tensor, threshold: float, sigma: float, method: int) -> Tensor:
    if method == 2:
        return torch.exp(-iou.square() / sigma)
    return torch.where(iou > threshold, 1 - iou if method == 1 else torch.zeros_like(iou), 1.0)


def _shifted(boxes: Tensor, offset: int) -> Tensor:
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
    """Write the gradient of the maps into `grad_input`; averaging is linear, so it does not depend on them."""
    maps = torch.zeros_like(grad_input, requires_grad=True)
    with torch.enable_grad():
        size = (aligned_height, aligned_width)
        pooled = ops.roi_align(maps, rois, size, spatial_scale, sampling_ratio, aligned)
    grad_input.copy_(torch.autograd.grad(pooled, maps, grad_output)[0])


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write N C focal losses (arXiv 1708.02002); label C is background, `weight` is per class or empty."""
    output.copy_(_focal(input, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the derivative of each loss by its logit."""
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
