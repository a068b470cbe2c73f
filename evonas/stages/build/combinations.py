"""Which settings fit together: the one check of combinations, made before a run is opened."""

from collections.abc import Sequence

from omegaconf import DictConfig

from evonas.config import redact
from evonas.errors import UserError
from evonas.stages import LOOKS_AT_NETWORKS, NEEDS_NO_NETWORK
from evonas.stages.build.setup import MAY_BE_NONE, RunMode, mode_of


def refuse_settings_of_none(cfg: DictConfig, typed: Sequence[str]) -> None:
    """Refuse typed settings of a group whose option is `none`, which would do nothing.

    Args:
        typed: the overrides of this command and those that it inherits.

    Raises:
        UserError: there is one.
    """
    for override in typed:
        key = override.partition("=")[0].lstrip("+~")
        name = key.partition(".")[0]
        if name in MAY_BE_NONE and "." in key and "_target_" not in (cfg.get(name) or {}):
            raise UserError(
                f"{redact(override)} has no effect with {name}=none.", f"Leave it out, or choose a {name}."
            )


def check_combinations(cfg: DictConfig, stage: str, objectives: Sequence[str]) -> None:
    """Refuse settings that the mode of the run or the stage would ignore.

    Types and least values are checked by the schema, single values by what is built of them.

    Args:
        objectives: the typed overrides of `objective`.

    Raises:
        UserError: two settings do not fit together, or a setting does not fit the stage.
    """
    mode = mode_of(cfg)
    if not mode.has_network and stage not in NEEDS_NO_NETWORK:
        raise UserError(
            f"Task {cfg.task.name} has no network, so there is nothing for stage={stage} to do.",
            "Its stages are: search, select, report",
        )
    if mode is RunMode.TABLE and stage in ("run", "search") and objectives and "proxies" not in cfg.evaluator:
        raise UserError(
            f"Task {cfg.task.name} searches columns of a table, and knows no {redact(objectives[0])}.",
            "Try: 'evaluator.objectives=[error,flops]', or scores: +task=transnas_scores",
        )
    if cfg.networks is not None and stage not in LOOKS_AT_NETWORKS:
        if stage == "search":
            raise UserError(
                "networks= names the networks, so there is nothing to search for.",
                "Leave it out, or networks=null",
            )
        if not mode.has_network:
            raise UserError(
                f"Task {cfg.task.name} has no network to train.", "Give networks= to a task with images."
            )
    if cfg.dry_run and stage != "search":
        raise UserError("dry_run=true tells the cost of a search.", "Add stage=search, or leave dry_run out.")
