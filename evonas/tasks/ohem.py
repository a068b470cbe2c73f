"""Online hard example mining (OHEM, arXiv 1604.03540) for pixels: easy ones do not count.

Legend: B batch, C classes, H W space.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from evonas.errors import UserError


class OHEM:
    """Mean cross-entropy of the pixels whose true class has a low probability.

    A pixel counts if the probability of its true class is at most `threshold`; where fewer pixels than the share
    `least` of all of them do, those with the lowest probabilities count.

    Args:
        threshold: probability in (0, 1].
        least: share in [0, 1] of the batch's pixels, ignored ones included.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(self, threshold: float = 0.7, least: float = 0.0625) -> None:
        if not 0 < threshold <= 1 or not 0 <= least <= 1:
            raise UserError(
                f"task.ohem needs a threshold in (0, 1] and a share in [0, 1], got {threshold} and {least}.",
                "Try task.ohem.threshold=0.7 task.ohem.least=0.0625.",
            )
        self.threshold, self.least = threshold, least

    def __call__(
        self, logits: Float[Tensor, "B C H W"], truth: Int[Tensor, "B H W"], ignore_index: int
    ) -> Tensor:
        """The loss; zero without labelled pixels."""
        losses = F.cross_entropy(logits, truth, ignore_index=ignore_index, reduction="none")
        own = losses[truth != ignore_index]
        if not own.numel():
            return losses.sum()
        chances = torch.exp(-own.detach().float())
        number = min(max(1, int(self.least * truth.numel())), own.numel())
        limit = chances.kthvalue(number).values.clamp_min(self.threshold)
        return own[chances <= limit].mean()
