"""Recipes: their lengths, learning rates and optimizer settings, and what decides a training."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evonas import weights
from evonas.identifiers import identified
from evonas.schema import LATER_RECIPE_SETTINGS, Recipe
from evonas.train.mixing import Mixing
from evonas.train.module import OptimizerOptions, check_step_options
from evonas.train.optim import optimizers
from evonas.train.optim.lr_schedule import Duration, Schedule
from evonas.train.optim.parameter_groups import Decay

# how often a training is saved does not change its weights
_IRRELEVANT = ("checkpoint_steps",)
# settings that a schedule ignores; identities of cosine, the first schedule, do not name it
_IGNORED: Mapping[str, tuple[str, ...]] = {
    "cosine": ("schedule", "power", "milestones", "gamma", "decay_epochs"),
    "cosine_after_warmup": ("power", "milestones", "gamma", "decay_epochs"),
    "poly": ("milestones", "gamma", "decay_epochs"),
    "multistep": ("power", "decay_epochs"),
    "step": ("power", "milestones"),
    "exponential": ("power", "milestones"),
}


def duration(recipe: Recipe) -> Duration:
    """Length and warm-up of a recipe."""
    return Duration(recipe.epochs, recipe.iterations, recipe.warmup_epochs, recipe.warmup_iterations)


def schedule(
    recipe: Recipe, length: Duration, steps_per_epoch: int, milestones: Sequence[float] | None = None
) -> Schedule:
    """The learning rates of a recipe over a length.

    Args:
        milestones: in epochs; None for the recipe's own. Where neither has any, they are 8/12 and 11/12 of the
            length, as in the usual twelve epochs of detection (MMDetection's schedule 1x).
    """
    epochs = recipe.milestones if milestones is None else milestones
    total = length.optimizer_steps(steps_per_epoch)
    return Schedule(
        total,
        length.warmup_steps(steps_per_epoch),
        peak=recipe.lr,
        start=recipe.lr_start,
        minimum=recipe.lr_min,
        shape=recipe.schedule,
        power=recipe.power,
        milestones=tuple(round(epoch * steps_per_epoch) for epoch in epochs)
        or tuple(round(total * part / 12) for part in (8, 11)),
        gamma=recipe.gamma,
        decay_steps=recipe.decay_epochs * steps_per_epoch,
    )


def optimizer_options(recipe: Recipe) -> OptimizerOptions:
    """The keywords of a Lightning module that configure its optimizer."""
    return {
        "optimizer": recipe.optimizer,
        "optimizer_options": recipe.optimizer_options,
        "weight_decay": recipe.weight_decay,
        "grad_clip": recipe.grad_clip,
        "grad_clip_mode": recipe.grad_clip_mode,
        "ema_decay": recipe.ema_decay,
        "ema_warmup": recipe.ema_warmup,
        "decay": recipe.decay,
        "undecayed": recipe.undecayed,
        "mixing": mixing(recipe),
        "projector_lr": recipe.projector_lr,
        "projector_weight_decay": recipe.projector_weight_decay,
    }


def mixing(recipe: Recipe) -> Mixing:
    """How the recipe mixes images.

    Raises:
        UserError: a parameter is out of range.
    """
    return Mixing(recipe.mixup, recipe.cutmix, recipe.mix_each)


def check_recipe(recipe: Recipe) -> None:
    """Raise what a training by this recipe would raise of its settings, before anything is trained.

    Raises:
        UserError: the schedule, the optimizer, its options, the clipping, the average or the mixing cannot be.
    """
    schedule(recipe, Duration(1, None), 1)
    optimizers.check(recipe.optimizer, recipe.optimizer_options)
    check_step_options(recipe.grad_clip_mode, recipe.ema_decay)
    Decay(recipe.weight_decay, recipe.decay)
    mixing(recipe)


def decisive_settings(recipe: Recipe) -> dict[str, Any]:
    """The settings of a recipe that decide its weights; those that are off or unused are left out."""
    plain = {key: value for key, value in asdict(recipe).items() if key not in _IRRELEVANT}
    unused = _IGNORED.get(recipe.schedule, ())
    unused += tuple(key for key in ("iterations", "warmup_iterations") if not plain[key])
    unused += tuple(key for key, usual in LATER_RECIPE_SETTINGS.items() if plain[key] == usual)
    unused += () if recipe.grad_clip else ("grad_clip_mode",)
    unused += () if recipe.ema_decay else ("ema_warmup",)
    unused += () if recipe.mixup or recipe.cutmix else ("mix_each",)
    return {key: value for key, value in plain.items() if key not in unused}


def training_identity(recipe: Recipe, purpose: str, **origin: Any) -> dict[str, Any]:
    """All that a training depends on, as plain data: equal identities mean equal results.

    Args:
        purpose: names the random streams.
        origin: what it depends on besides recipe and purpose.
    """
    return dict(identified({"purpose": purpose, **decisive_settings(recipe), **origin}))


def is_trained(path: Path, identity: Mapping[str, Any]) -> bool:
    """Whether the weights at `path` exist and come from a training of this identity."""
    return path.exists() and identified(weights.load_meta(path).get("identity")) == dict(identity)
