"""What a head with an auxiliary head beside it answers while it learns."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class AuxiliaryOutput:
    """An answer, and what an auxiliary head says of the same images; given in training mode alone.

    A task adds `weight` times the loss of `side` to that of `main`; whoever compares answers reads `main`.

    Args:
        main: the answer.
        auxiliary: output of the auxiliary head, at a size of its own.
        weight: of the auxiliary loss.
    """

    main: Tensor
    auxiliary: Tensor
    weight: float

    def detach(self) -> "AuxiliaryOutput":
        """The same answers without slope."""
        return AuxiliaryOutput(self.main.detach(), self.auxiliary.detach(), self.weight)


def main_output(answer: Any) -> Any:
    """The answer itself, without the auxiliary one; what is no `AuxiliaryOutput` comes back as it is."""
    return answer.main if isinstance(answer, AuxiliaryOutput) else answer
