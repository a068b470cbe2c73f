"""Output of a head with auxiliary heads in training mode."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class AuxiliaryOutput:
    """Outputs of the main head and auxiliary heads, returned in training mode only.

    A task adds `weight` times the loss of every auxiliary output to the loss of `main`; distillation compares `main`.

    Args:
        main: output of the main head.
        auxiliary: output of the auxiliary head, or of each of several; sizes may differ.
        weight: weight of each auxiliary loss.
    """

    main: Tensor
    auxiliary: Tensor | tuple[Tensor, ...]
    weight: float

    @property
    def others(self) -> tuple[Tensor, ...]:
        """The auxiliary outputs."""
        return self.auxiliary if isinstance(self.auxiliary, tuple) else (self.auxiliary,)

    def detach(self) -> "AuxiliaryOutput":
        """All outputs without gradient."""
        others = tuple(each.detach() for each in self.others)
        return AuxiliaryOutput(
            self.main.detach(), others if isinstance(self.auxiliary, tuple) else others[0], self.weight
        )


def main_output(output: Any) -> Any:
    """The main output of an `AuxiliaryOutput`; any other output is returned unchanged."""
    return output.main if isinstance(output, AuxiliaryOutput) else output
