"""Metrics of image classification: top-1, top-5 and cross-entropy.

Legend: B batch, C classes.
"""

import math
from collections.abc import Mapping

from torch import Tensor

from evonas.errors import UserError
from evonas.tasks.base import FiniteMeter

# upper bound of the loss of an image in nats, for diverged networks
WORST_LOSS = 100.0


class TopMeter(FiniteMeter):
    """Accumulates top-1 and top-5 accuracy and cross-entropy.

    Ties count as errors, so that a constant network does not score.

    Args:
        num_classes: C; with five classes or fewer, top5 is 1 for every finite output without ties.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self._first = self._among_five = 0
        self._losses: list[float] = []

    def _add(self, output: Tensor, batch: Mapping[str, Tensor]) -> None:
        """Adds logits B C of a batch with `label`."""
        logits, label = output.double(), batch["label"].to(output.device)[:, None]
        own = logits.gather(1, label)
        ahead = (logits >= own).sum(dim=1) - 1
        self._first += int((ahead < 1).sum())
        self._among_five += int((ahead < 5).sum())
        losses = -logits.log_softmax(dim=1).gather(1, label)[:, 0]
        self._losses += losses.clamp(max=WORST_LOSS).tolist()

    def _metrics(self) -> dict[str, float]:
        """error, top1 and top5 as fractions of images; loss: mean cross-entropy in nats, not smoothed."""
        count = len(self._losses)
        if count == 0:
            raise UserError("The split has no images.", "Check data.root and the sizes of the splits.")
        top1, top5 = self._first / count, self._among_five / count
        return {"error": 1 - top1, "top1": top1, "top5": top5, "loss": math.fsum(self._losses) / count}
