"""How a classifier is scored: top-1, top-5 and the loss, one image at a time.

Legend: B batch, C classes.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from evonas.errors import UserError

# a diverged network may put out anything; its loss on an image counts as this many nats at most
WORST_LOSS = 100.0


class TopMeter:
    """Counts images whose class is among the first 1 and the first 5.

    A tie is counted against the network, and an output that is not finite as wrong, so
    that neither a constant nor a diverged network can score.

    Args:
        num_classes: C; with five classes or fewer, top5 is 1 for every finite output without ties.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self._first = self._among_five = 0
        self._losses: list[float] = []

    def update(self, output: Tensor, batch: Mapping[str, Tensor]) -> None:
        """Score logits B C against `label`."""
        logits, label = output.detach().double(), batch["label"].to(output.device)[:, None]
        own = logits.gather(1, label)
        ahead = (logits >= own).sum(dim=1) - 1
        finite = logits.isfinite().all(dim=1)
        self._first += int((finite & (ahead < 1)).sum())
        self._among_five += int((finite & (ahead < 5)).sum())
        losses = -logits.log_softmax(dim=1).gather(1, label)[:, 0]
        self._losses += torch.nan_to_num(losses, WORST_LOSS).clamp(max=WORST_LOSS).tolist()

    def compute(self) -> dict[str, float]:
        """error, top1 and top5 as fractions of images; loss: mean cross-entropy in nats, not smoothed."""
        count = len(self._losses)
        if count == 0:
            raise UserError("No image was scored.", "Check data.root and the sizes of the splits.")
        top1, top5 = self._first / count, self._among_five / count
        return {"error": 1 - top1, "top1": top1, "top5": top5, "loss": math.fsum(self._losses) / count}
