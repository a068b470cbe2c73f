"""Contract of detection heads: regions for training losses, a fixed table of detections in eval mode.

Legend: B batch, C classes, K detections, N objects, R regions of interest, S side of a mask, H W space.

A head is a `RegionHead`. In eval mode it returns one Tensor, B K (6 + S * S). A row contains a box (x1 y1 x2 y2 in
pixels of the network's input), a score, a class id and, for heads with masks (S = `mask_side`, else 0), the
probabilities of a mask that spans the box. Rows are sorted by descending score. K is fixed; rows without a detection
are zero with class -1. So evaluation, timing, counting and export treat detectors like other networks. The computation
does not depend on what is detected: on the meta device the head returns shapes and executes all layers.

While its own `training` flag is set, the head returns `Regions` for the losses instead. Only the flag of the head
matters: `output_regions` sets it in a network that is otherwise in eval mode, for teachers and loss oracles, whose
layers must not behave as in training.

Ground truth in a batch is padded at the end: `boxes` B N 4 (x1 y1 x2 y2, pixels of the input), `labels` B N (0 to
C - 1; -1 for padding), and for heads with masks `masks` B N M M uint8 (0 or 1), each mask cropped to its box and
resized to M pixels. Crowds are excluded. An image may have no object.

Coded boxes are offsets of centre and log sides relative to a region, divided by (0.1, 0.1, 0.2, 0.2)
(Girshick et al., arXiv 1311.2524, with the usual deviations). The last of C + 1 classes is the background.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from evonas.nn.auxiliary import AuxiliaryOutput

# columns of a row before the mask
BOX, SCORE, LABEL, PLAIN = slice(0, 4), 4, 5, 6
EMPTY = -1
DEVIATIONS = (0.1, 0.1, 0.2, 0.2)

Truth = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Samples:
    """Sampled training regions of a box head, of all images of a batch.

    Args:
        rois: index of the image, then x1 y1 x2 y2 in pixels of the input.
        labels: class of each region, C for background.
        targets: coded boxes of the objects; undefined for background.
    """

    rois: Float[Tensor, "R 5"]
    labels: Int[Tensor, " R"]
    targets: Float[Tensor, "R 4"]


@runtime_checkable
class Regions(Protocol):
    """A head's training output on a batch, before it is compared with the ground truth."""

    def losses(self, batch: Truth) -> dict[str, Tensor]:
        """Scalar losses by name, which are summed; they depend on every parameter of the head."""
        ...

    def samples(self, batch: Truth) -> Samples:
        """The regions that `losses` uses: sampled once, and the same at every call."""
        ...

    def predict_rois(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits R (C + 1) and coded boxes R C 4 of any regions, predicted from the head's own maps."""
        ...

    def detach(self) -> "Regions":
        """The same output without gradient to the backbone."""
        ...


HeadOutput = Tensor | Regions | AuxiliaryOutput


class RegionHead(nn.Module, ABC):
    """Base of detection heads; see the module's contract.

    Args:
        num_classes: number of classes without background.
        detections: K, rows of the output.
        mask_side: S, or 0 without masks.
    """

    def __init__(self, num_classes: int, detections: int, mask_side: int = 0) -> None:
        super().__init__()
        self.num_classes, self.detections, self.mask_side = num_classes, detections, mask_side

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Constructor keywords except `levels`, as JSON data."""

    @abstractmethod
    def regions(self, levels: list[Tensor]) -> Regions:
        """The output in training mode."""

    @abstractmethod
    def detect(self, levels: list[Tensor]) -> Float[Tensor, "B K columns"]:
        """The table of detections, without gradient."""

    def forward(self, levels: list[Tensor]) -> HeadOutput:
        """Regions in training mode of the head, else the table of detections; maps finest first."""
        return self.regions(levels) if self.training else self.detect(levels)


def within(output: Any, size: tuple[int, int]) -> Any:
    """The output of a head on a padded image: boxes of a table are clipped to the image, regions are unchanged.

    Args:
        output: table of detections, or regions.
        size: height and width of the image without padding, in pixels.
    """
    if not isinstance(output, Tensor):
        return output
    boxes = clip_boxes_to_image(output[..., BOX], size)
    return torch.cat((boxes, output[..., SCORE:]), dim=-1)


def output_regions(net: nn.Module) -> None:
    """Makes region heads of a network in eval mode return regions; all layers stay in eval mode."""
    for module in net.modules():
        if isinstance(module, RegionHead):
            module.training = True


def input_size(levels: Sequence[Tensor], stride: int) -> tuple[int, int]:
    """Height and width of the images, from the finest map and its stride."""
    height, width = levels[0].shape[-2:]
    return height * stride, width * stride
