"""The recipes of `cfg.train`, within the limits of `cfg.limits`."""

from dataclasses import replace
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from evonas.errors import UserError
from evonas.schema import Recipe


def read_recipe(cfg: DictConfig, name: str) -> Recipe:
    """One of the recipes of `cfg.train`, within the limits of `cfg.limits`.

    Raises:
        UserError: it has neither epochs nor iterations.
    """
    recipe = Recipe(**cast(dict[str, Any], OmegaConf.to_container(cfg.train[name], resolve=True)))
    limit = cfg.limits.max_epochs
    batches = [each for each in (recipe.max_batches, cfg.limits.max_batches) if each is not None]
    recipe = replace(recipe, max_batches=min(batches, default=None))
    if recipe.epochs is None and recipe.iterations is None:
        raise UserError(f"train.{name} has neither epochs nor iterations.", f"Try train.{name}.epochs=10.")
    if limit is None or (recipe.epochs is not None and recipe.epochs <= limit):
        return recipe
    return replace(recipe, epochs=limit, warmup_epochs=min(recipe.warmup_epochs, float(limit)))
