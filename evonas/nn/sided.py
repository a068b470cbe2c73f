"""What a head with an auxiliary head beside it answers while it learns."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sided:
    """An answer, and what an auxiliary head says of the same images; given in training mode alone.

    A task adds `weight` times the loss of `side` to that of `main`; whoever compares answers reads `main`.

    Args:
        main: the answer.
        side: of the auxiliary head, at a size of its own.
        weight: of the auxiliary loss.
    """

    main: Tensor
    side: Tensor
    weight: float

    def detach(self) -> "Sided":
        """The same answers without slope."""
        return Sided(self.main.detach(), self.side.detach(), self.weight)


def main_of(answer: Any) -> Any:
    """The answer itself, without the auxiliary one; what is no `Sided` comes back as it is."""
    return answer.main if isinstance(answer, Sided) else answer
