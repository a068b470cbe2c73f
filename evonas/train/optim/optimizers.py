"""Optimizers by name: torch's AdamW, and those of timm."""

import difflib
import inspect
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
        UserError: the optimizer is unknown, needs a package that is not installed, or does not use an option.
    """
    if name == "adamw" and not options:
        return torch.optim.AdamW(groups, lr=rate, fused=fused)
    known = [str(each) for each in timm.optim.list_optimizers() if each not in _REFUSED]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3) or ["adamw", "sgd", "rmsproptf"]
        raise UserError(f"train.*.optimizer={name} is unknown.", f"Try one of timm's: {', '.join(near)}.")
    _refuse_unused(name, options)
    try:
        return timm.optim.create_optimizer_v2(groups, opt=name, lr=rate, **options)
    except (TypeError, ValueError, LookupError, AssertionError, ImportError) as error:
        raise _unusable(name, options, error) from error


def check(name: str, options: Mapping[str, Any]) -> None:
    """Refuse an optimizer, or options, before a training has loaded anything.

    Many options are read only by the first step, so with options a matrix and a vector of their own take one.

    Raises:
        UserError: see `optimizer`, or a step fails.
    """
    weights = [torch.nn.Parameter(torch.ones(shape)) for shape in ((8, 8), (8,))]
    made = optimizer([{"params": weights, "weight_decay": 0.0}], name, 1e-3, options, fused=False)
    # these know no tensors of the CPU
    if not options or name.startswith(("bnb", "fused")):
        return
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    with torch.random.fork_rng(devices=[]):
        try:
            made.step()
        # whatever an optimizer of another project raises
        except Exception as error:
            raise _unusable(name, options, error) from error


def _refuse_unused(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that timm would drop, and texts where an optimizer asks for true or false."""
    found: Any = timm.optim.get_optimizer_class(name, bind_defaults=False)
    own = inspect.signature(found).parameters
    # of timm's factory: it makes parameter groups, which exist here
    factory = inspect.signature(timm.optim.create_optimizer_v2).parameters
    for key, value in options.items():
        if key == "weight_decay":
            raise UserError(
                f"train.*.optimizer_options.weight_decay={value} has no effect: groups have their own.",
                f"Type train.*.weight_decay={value}.",
            )
        if key == "lr":
            raise UserError(
                f"train.*.optimizer_options.lr={value} has no effect: a schedule sets the rate.",
                f"Type train.*.lr={value}.",
            )
        if key in factory and key not in own:
            raise UserError(
                f"train.*.optimizer={name} does not use {key}={value}.",
                f"Leave train.*.optimizer_options.{key} out.",
            )
        if key in own and isinstance(own[key].default, bool) and not isinstance(value, bool):
            raise UserError(
                f"train.*.optimizer_options.{key} of {name} must be true or false, got {value}.",
                f"Try {key}={str(own[key].default).lower()}.",
            )


def _unusable(name: str, options: Mapping[str, Any], error: Exception) -> UserError:
    given = " and ".join(f"{key}={value}" for key, value in options.items()) or "no options"
    reason = str(error).partition("\n")[0] or type(error).__name__
    return UserError(
        f"train.*.optimizer={name} cannot be made with {given}: {reason}",
        "Check train.*.optimizer_options, or try optimizer=adamw.",
    )
