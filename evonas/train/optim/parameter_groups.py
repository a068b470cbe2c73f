"""Parameter groups of an optimizer: weight decay and learning-rate scale per parameter."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from evonas.errors import UserError

DECAYS = ("matrices", "all", "no_norm")
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)


@dataclass(frozen=True, slots=True)
class Decay:
    """Weight decay.

    Args:
        amount: weight decay.
        rule: `matrices` excludes vectors and scalars (biases, norms, SSD state), `no_norm` excludes parameters of
            norms, `all` excludes none.
        without: patterns of names of parameters that are excluded besides, such as `*.first_conv.*`.

    Raises:
        UserError: rule is unknown.
    """

    amount: float
    rule: str = "matrices"
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rule not in DECAYS:
            raise UserError(f"train.*.decay={self.rule} is unknown.", f"Known: {', '.join(DECAYS)}")

    def applies(self, owner: nn.Module, parameter: nn.Parameter, name: str = "") -> bool:
        """Whether a parameter of the module `owner` decays, with its name in the trained module."""
        if any(fnmatchcase(name, pattern) for pattern in self.without):
            return False
        if self.rule == "matrices":
            return parameter.ndim > 1
        return self.rule == "all" or not isinstance(owner, _NORMS)


def parameter_groups(
    module: nn.Module, decay: Decay, scale: float = 1.0, without: nn.Module | None = None
) -> list[dict[str, Any]]:
    """The parameter groups of a module: with weight decay and without; empty groups are omitted.

    Args:
        module: its trainable parameters are grouped.
        decay: weight decay.
        scale: factor of the scheduled learning rate, stored in the groups.
        without: a submodule that is excluded.

    Raises:
        UserError: a pattern of names matches no parameter.
    """
    spared = {id(parameter) for parameter in without.parameters()} if without else set()
    trained = [each for each in _owned(module) if each[1].requires_grad and id(each[1]) not in spared]
    for pattern in decay.without:
        if not any(fnmatchcase(name, pattern) for _, _, name in trained):
            some = ", ".join(name for _, _, name in trained[:3])
            raise UserError(
                f"train.*.undecayed={pattern} matches no parameter.", f"Their names are like: {some}."
            )
    decayed = [parameter for owner, parameter, name in trained if decay.applies(owner, parameter, name)]
    free = [parameter for owner, parameter, name in trained if not decay.applies(owner, parameter, name)]
    groups = ((decayed, decay.amount), (free, 0.0))
    return [{"params": part, "weight_decay": amount, "scale": scale} for part, amount in groups if part]


def _owned(module: nn.Module) -> Iterator[tuple[nn.Module, nn.Parameter, str]]:
    """Yields every parameter once, with the module that owns it and its name."""
    seen: set[int] = set()
    for prefix, owner in module.named_modules():
        for name, parameter in owner.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield owner, parameter, f"{prefix}.{name}" if prefix else name
