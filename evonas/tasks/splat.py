"""Novel view synthesis from few posed images with pixel-aligned 3D Gaussians.

Legend: B batch, V context views, T target views, C channels, H W space of one view, h w cells.

The network maps context views side by side (B 3 H VW) to camera-independent parameters B C h Vw. The task unprojects
them to Gaussians with the batch's cameras (`nn/unprojection.py`), renders these in the target cameras and compares the
images. Items are those of `data/views/base.py`.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from evonas.data.augment import MEAN, STD, denormalise
from evonas.data.base import Images, Source, Split
from evonas.errors import UserError
from evonas.nn.gaussians import Layout
from evonas.nn.level import Level
from evonas.nn.unprojection import Cameras, Gaussians, lift, render
from evonas.tasks.base import Batch, Picture
from evonas.tasks.view_metrics import ViewMeter, averages, depth_error, similarity, view_metrics

log = logging.getLogger(__name__)


class ViewSource(Source, Protocol):
    """A source of multi-view items; `view_size` is the height and width of a view."""

    view_size: tuple[int, int]
    context: int


class Splat:
    """Novel view synthesis with L1 and SSIM losses; the error is the RMSE of target views.

    The RMSE determines the PSNR, but is finite, zero for perfect predictions, and a mean over images. Further metrics
    are PSNR, SSIM and, with weights, LPIPS.

    Args:
        data: a source of posed views.
        head: constructor of the head, called with `(levels, out_channels=)`; it needs one output per cell, as
            head=gaussians has.
        name: name of the task, as in `+task=`.
        planes, features: see `nn.gaussians.Layout`.
        every: pixels between Gaussians.
        ssim_weight: weight of 1 - SSIM in the loss; L1 has the rest (Kerbl et al. 2023, eq. 7, use 0.2).
        depth_weight: weight of the logarithmic depth error where depth is known; 0 trains on images only.
        lpips: file of torchvision's VGG-16; None disables LPIPS.
        lpips_weight: weight of LPIPS in the loss.

    Raises:
        UserError: a weight is invalid.
    """

    error_name = "rmse"
    error_is_mean = True

    def __init__(
        self,
        data: ViewSource,
        head: Callable[..., nn.Module],
        name: str,
        planes: int = 32,
        features: int = 16,
        every: int = 1,
        ssim_weight: float = 0.2,
        depth_weight: float = 0.0,
        lpips: str | None = None,
        lpips_weight: float = 0.0,
    ) -> None:
        if not 0 <= ssim_weight <= 1 or depth_weight < 0 or lpips_weight < 0:
            raise UserError("Loss weights must not be negative, and task.ssim_weight at most 1.", "Try 0.2.")
        if lpips_weight and lpips is None:
            raise UserError(
                f"task.lpips_weight={lpips_weight} needs weights.", "Set task.lpips=<vgg16-397923af.pth>."
            )
        self.name, self.input_size, self.view_size = name, data.size, data.view_size
        self.layout = Layout(planes, features, every)
        self.ssim_weight, self.depth_weight, self.lpips_weight = ssim_weight, depth_weight, lpips_weight
        self._data, self._head, self._lpips = data, head, lpips

    def dataset(self, split: Split) -> Images:
        """A split of the data."""
        return self._data.dataset(split)

    def head(self, levels: Sequence[Level]) -> nn.Module:
        """A head with the channels of the layout."""
        return self._head(levels, out_channels=self.layout.channels(levels[0].stride))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The weighted sum of L1, SSIM, depth and LPIPS losses on target views."""
        drawn, depths = [], []
        for number, gaussians in enumerate(self._lifted(output, batch)):
            drawn.append(self._drawn(gaussians, batch, number))
            depths.append(gaussians.depths)
        prediction, truth = torch.cat(drawn), batch["target"].flatten(0, 1)
        loss = (1 - self.ssim_weight) * (prediction - truth).abs().mean()
        if self.ssim_weight:
            loss = loss + self.ssim_weight * (1 - similarity(prediction, truth).mean())
        if self.lpips_weight and self._perceptual is not None:
            loss = loss + self.lpips_weight * self._perceptual.to(truth.device)(prediction, truth).mean()
        if self.depth_weight and "context_depth" in batch:
            loss = loss + self.depth_weight * _depth_loss(torch.stack(depths), self._depths(batch))
        return loss

    def distillation_loss(self, output: Tensor, teacher_output: Tensor, batch: Batch) -> Tensor:
        """Mean logarithmic difference between the depths of student and teacher."""
        own = torch.stack([each.depths for each in self._lifted(output, batch)])
        with torch.no_grad():
            other = torch.stack([each.depths for each in self._lifted(teacher_output, batch)])
        return _depth_loss(own, other)

    def meter(self) -> ViewMeter:
        """A new meter of rmse, psnr, ssim and, if available, lpips and abs_rel of depth."""
        return ViewMeter(self._scores)

    def baseline(self) -> tuple[str, dict[str, float]]:
        """A copy of the context view with the nearest camera as each target, evaluated on `test`."""
        rows = []
        for item in self.dataset("test"):
            context = _apart(item["image"], len(item["context_view"]))
            nearest = _distances(item["target_view"], item["context_view"]).argmin(1)
            rows.append(view_metrics(context[nearest], item["target"], self._perceptual))
        return "copy of the nearest view", averages(rows)

    def pictures(self, output: Tensor, batch: Batch) -> list[dict[str, Picture]]:
        """Context views, targets and predictions, each side by side."""
        pictures = []
        with torch.no_grad():
            gaussians = list(self._lifted(_finite(output), batch))
            for number, image in enumerate(denormalise(batch["image"])):
                drawn = self._drawn(gaussians[number], batch, number)
                truth = batch["target"][number]
                both = {"truth": _wide(truth), "prediction": _wide(drawn)}
                pictures.append({"image": image, **both})
        return pictures

    @cached_property
    def _perceptual(self) -> nn.Module | None:
        if self._lpips is None:
            log.info("LPIPS is left out: it needs task.lpips=<vgg16-397923af.pth>.")
            return None
        from evonas.nn.perceptual import Perceptual

        return Perceptual(self._lpips)

    def _lifted(self, output: Tensor, batch: Batch) -> Iterator[Gaussians]:
        """The Gaussians of each item in full precision, item by item, so that none depends on its batch."""
        views = batch["context_view"].shape[1]
        self._check(output, views)
        for number in range(len(output)):
            near, far = batch["range"][number].tolist()
            with torch.autocast(output.device.type, enabled=False):
                raw = self.layout.read(output[number].float(), views)
                cameras = Cameras(batch["context_view"][number], batch["context_lens"][number])
                images = _apart(batch["image"][number], views)
                yield lift(raw, self.layout, images, cameras, near, far)

    def _check(self, output: Tensor, views: int) -> None:
        height, width = self.view_size
        cell = height // output.shape[-2]
        expected = self.layout.channels(cell) if cell % self.layout.every == 0 else None
        if output.shape[1] != expected or output.shape[-1] * cell != views * width:
            raise UserError(
                f"A head with output {tuple(output.shape[1:])} does not fit the layout of Gaussians.",
                "Use head=gaussians.",
            )

    def _drawn(self, gaussians: Gaussians, batch: Batch, number: int) -> Tensor:
        """Rendered target views T 3 H W, over the mean colour of the context."""
        cameras = Cameras(batch["target_view"][number], batch["target_lens"][number])
        background = _pixels(batch["image"][number]).mean((1, 2))
        with torch.autocast(background.device.type, enabled=False):
            return render(gaussians, cameras, *self.view_size, background)

    def _scores(self, output: Tensor, batch: Batch) -> list[dict[str, float]]:
        perceptual = self._perceptual
        if perceptual is not None:
            perceptual = perceptual.to(output.device)
        rows = []
        for number, gaussians in enumerate(self._lifted(output, batch)):
            drawn = self._drawn(gaussians, batch, number)
            row = view_metrics(drawn, batch["target"][number], perceptual)
            if "context_depth" in batch:
                error = depth_error(gaussians.depths, self._depths(batch)[number])
                row |= {} if error is None else {"abs_rel": error}
            rows.append(row)
        return rows

    def _depths(self, batch: Batch) -> Tensor:
        """Known depth at the Gaussians, B V H W; 0 where it is unknown or not used."""
        depths = batch["context_depth"][..., :: self.layout.every, :: self.layout.every]
        near, far = batch["range"][:, :, None, None, None].unbind(1)
        return torch.where((depths >= near) & (depths <= far), depths, 0)


def _depth_loss(depths: Tensor, truth: Tensor) -> Tensor:
    """Mean |ln d - ln t| over pixels with known depth; zero without any."""
    known = truth > 0
    difference = (depths.log() - torch.where(known, truth, 1).log()).abs()
    return (difference * known).sum() / known.sum().clamp_min(1)


def _pixels(images: Tensor) -> Tensor:
    """Converts normalised images C H W to [0, 1]."""
    mean, std = (torch.from_numpy(each).to(images)[:, None, None] for each in (MEAN, STD))
    return images * std + mean


def _apart(image: Tensor, views: int) -> Tensor:
    """Splits normalised views side by side into V 3 H W in [0, 1]."""
    return _pixels(image).unflatten(-1, (views, -1)).permute(2, 0, 1, 3)


def _distances(views: Tensor, others: Tensor) -> Tensor:
    """Distances between the cameras of T views and of V others."""
    places, other = (-(each[:, :3, :3].mT @ each[:, :3, 3:])[..., 0] for each in (views, others))
    return torch.cdist(places, other)


def _finite(output: Tensor) -> Tensor:
    """Replaces non-finite outputs by zero."""
    return output.detach().float().nan_to_num(0.0, 0.0, 0.0)


def _wide(images: Tensor) -> Picture:
    """Views T 3 H W in [0, 1] as one image, side by side."""
    wide = torch.cat(list(images.detach().float().cpu().clamp(0, 1)), -1)
    return np.rint(wide.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
