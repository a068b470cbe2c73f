"""Parameter groups of AdamW: which parameters decay, and which follow a learning rate of their own."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from evonas.errors import UserError

DECAYS = ("matrices", "all", "no_norm")
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)


@dataclass(frozen=True, slots=True)
class Decay:
    """How much decays, and what.

    Args:
        amount: AdamW's weight decay.
        rule: `matrices` spares vectors and scalars (biases, norms, SSD state), `no_norm` the
            parameters of norms alone, `all` nothing.
    """

    amount: float
    rule: str = "matrices"

    def __post_init__(self) -> None:
        if self.rule not in DECAYS:
            raise UserError(f"train.*.decay={self.rule} is unknown.", f"Known: {', '.join(DECAYS)}")

    def applies(self, owner: nn.Module, parameter: nn.Parameter) -> bool:
        """Whether a parameter of a module decays."""
        if self.rule == "matrices":
            return parameter.ndim > 1
        return self.rule == "all" or not isinstance(owner, _NORMS)


def parameter_groups(
    module: nn.Module, decay: Decay, scale: float = 1.0, without: nn.Module | None = None
) -> list[dict[str, Any]]:
    """At most two groups, what decays first.

    Args:
        scale: kept in the groups: the learning rate is the schedule's times this.
        without: a part of the module that is left out.
    """
    spared = {id(parameter) for parameter in without.parameters()} if without else set()
    trained = [pair for pair in _owned(module) if pair[1].requires_grad and id(pair[1]) not in spared]
    decayed = [parameter for owner, parameter in trained if decay.applies(owner, parameter)]
    free = [parameter for owner, parameter in trained if not decay.applies(owner, parameter)]
    groups = ((decayed, decay.amount), (free, 0.0))
    return [{"params": part, "weight_decay": amount, "scale": scale} for part, amount in groups if part]


def _owned(module: nn.Module) -> Iterator[tuple[nn.Module, nn.Parameter]]:
    """Every parameter once, with the module that it belongs to."""
    seen: set[int] = set()
    for owner in module.modules():
        for parameter in owner.parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield owner, parameter
