"""Optimizers by name: torch's AdamW, and those of timm."""

import difflib
from collections.abc import Mapping
from typing import Any

import timm.optim
import torch

from evonas.errors import UserError

# it differentiates twice, which a training step does not
_REFUSED = ("adahessian",)


def optimizer(
    groups: list[dict[str, Any]], name: str, rate: float, options: Mapping[str, Any], fused: bool
) -> torch.optim.Optimizer:
    """An optimizer over parameter groups.

    Args:
        groups: see `parameter_groups`; each has its own weight decay.
        name: `adamw` for torch's, else a name of `timm.optim.list_optimizers()`: `sgd` has Nesterov's momentum,
            `momentum` the plain one, `rmsproptf` is TensorFlow's RMSprop.
        rate: learning rate of step 0.
        options: further keywords of the optimizer, such as `momentum` (0.9 where nothing is said) or `eps`.
        fused: whether AdamW may use its fused kernel, which would remove a loss scale itself.

    Raises:
        UserError: the optimizer is unknown, needs a package that is not installed, or does not know an option.
    """
    if name == "adamw" and not options:
        return torch.optim.AdamW(groups, lr=rate, fused=fused)
    known = [str(each) for each in timm.optim.list_optimizers() if each not in _REFUSED]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3) or ["adamw", "sgd", "rmsproptf"]
        raise UserError(f"train.*.optimizer={name} is unknown.", f"Try one of timm's: {', '.join(near)}.")
    try:
        return timm.optim.create_optimizer_v2(groups, opt=name, lr=rate, **options)
    except (TypeError, ValueError, AssertionError, ImportError) as error:
        given = " and ".join(f"{key}={value}" for key, value in options.items()) or "no options"
        raise UserError(
            f"train.*.optimizer={name} cannot be made with {given}: {error}",
            "Check train.*.optimizer_options, or try optimizer=adamw.",
        ) from error
