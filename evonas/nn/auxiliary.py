"""Output of a head with an auxiliary head in training mode."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class AuxiliaryOutput:
    """Outputs of the main head and the auxiliary head, returned in training mode only.

    A task adds `weight` times the loss of `auxiliary` to the loss of `main`; distillation compares `main`.

    Args:
        main: output of the main head.
        auxiliary: output of the auxiliary head; its size may differ.
        weight: weight of the auxiliary loss.
    """

    main: Tensor
    auxiliary: Tensor
    weight: float

    def detach(self) -> "AuxiliaryOutput":
        """Both outputs without gradient."""
        return AuxiliaryOutput(self.main.detach(), self.auxiliary.detach(), self.weight)


def main_output(output: Any) -> Any:
    """The main output of an `AuxiliaryOutput`; any other output is returned unchanged."""
    return output.main if isinstance(output, AuxiliaryOutput) else output
