"""What a detector's head is: it learns from regions and answers with a table of detections.

Legend: B batch, C classes, K detections, N objects, R regions of interest, S side of a mask, H W space.

The contract. A head is a `RegionHead`. In eval mode it gives one Tensor, B K (6 + S * S): in each row a box
(x1 y1 x2 y2 in pixels of the network's input), a score, the number of a class, and, where the head has
masks (S = `mask_side`, else 0), the probabilities of a mask that spans the box. Rows are ordered by falling
score; K is fixed, and rows without a detection are zero but for the class, -1. So whoever measures, times,
counts or exports a network needs to know nothing of detection. The work does not depend on what is found:
on maps without memory (meta) the head answers with shapes alone and still shows all its layers.

While its own `training` flag is set the head gives `Regions` instead: what losses need. The flag of the
head alone decides: `output_regions` sets it in a network that is otherwise in eval mode, for teachers and
judges, whose layers must not behave as in training.

Truth in a batch is padded at the end: `boxes` B N 4 (x1 y1 x2 y2, pixels of the input), `labels` B N (0 to
C - 1; -1 is an empty row), and for heads with masks `masks` B N M M uint8 (0 or 1), each mask cut to its
box and stretched to M pixels. Crowds are not in it. An image may have no object.

Coded boxes are offsets of centre and log sides against a region, divided by (0.1, 0.1, 0.2, 0.2)
(Girshick et al., arXiv 1311.2524, with the deviations that public code settled on). The last of C + 1 classes
is the background.
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

# columns of a row before its mask
BOX, SCORE, LABEL, PLAIN = slice(0, 4), 4, 5, 6
EMPTY = -1
DEVIATIONS = (0.1, 0.1, 0.2, 0.2)

Truth = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Samples:
    """The regions that a box head learns from, of all images of a batch.

    Args:
        rois: the number of the image, then x1 y1 x2 y2 in pixels of the input.
        labels: the class of each, C for background.
        targets: coded boxes of the objects; without meaning for background.
    """

    rois: Float[Tensor, "R 5"]
    labels: Int[Tensor, " R"]
    targets: Float[Tensor, "R 4"]


@runtime_checkable
class Regions(Protocol):
    """A head's answer to one batch of maps, not yet compared with the truth."""

    def losses(self, batch: Truth) -> dict[str, Tensor]:
        """Scalars by name, to be added up; every parameter of the head has a part in them."""
        ...

    def samples(self, batch: Truth) -> Samples:
        """The regions that `losses` uses: drawn once, and the same at every call."""
        ...

    def predict_rois(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits R (C + 1) and coded boxes R C 4 of any regions, by this head on its own maps."""
        ...

    def detach(self) -> "Regions":
        """The same answer, whose maps lead no slope back to the backbone."""
        ...


HeadOutput = Tensor | Regions | AuxiliaryOutput


class RegionHead(nn.Module, ABC):
    """Base of detectors' heads; see the module's contract.

    Args:
        num_classes: without the background.
        detections: K, rows of an answer.
        mask_side: S, or 0 for boxes alone.
    """

    def __init__(self, num_classes: int, detections: int, mask_side: int = 0) -> None:
        super().__init__()
        self.num_classes, self.detections, self.mask_side = num_classes, detections, mask_side

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The keywords besides `levels` that make such a head again, as plain data."""

    @abstractmethod
    def regions(self, levels: list[Tensor]) -> Regions:
        """What losses need."""

    @abstractmethod
    def detect(self, levels: list[Tensor]) -> Float[Tensor, "B K columns"]:
        """The table of detections; without slopes."""

    def forward(self, levels: list[Tensor]) -> HeadOutput:
        """Regions while the head's own flag says training, else the table; maps finest first."""
        return self.regions(levels) if self.training else self.detect(levels)


def within(answer: Any, size: tuple[int, int]) -> Any:
    """The answer of a head that saw the image filled up, right and below; regions stay as they are.

    Args:
        answer: a table is copied, with its boxes cut to the image.
        size: height and width of the image in pixels.
    """
    if not isinstance(answer, Tensor):
        return answer
    boxes = clip_boxes_to_image(answer[..., BOX], size)
    return torch.cat((boxes, answer[..., SCORE:]), dim=-1)


def output_regions(net: nn.Module) -> None:
    """Let the region heads of a network in eval mode give regions; all layers stay in eval mode."""
    for module in net.modules():
        if isinstance(module, RegionHead):
            module.training = True


def input_size(levels: Sequence[Tensor], stride: int) -> tuple[int, int]:
    """Height and width of the images, from the finest map and its stride."""
    height, width = levels[0].shape[-2:]
    return height * stride, width * stride
