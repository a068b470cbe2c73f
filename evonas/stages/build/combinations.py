"""Which settings fit together: the one check of combinations, made before a run is opened."""

from collections.abc import Sequence

from omegaconf import DictConfig

from evonas.config import redact
from evonas.errors import UserError
from evonas.stages import LOOKS_AT_NETWORKS, NEEDS_NO_NETWORK
from evonas.stages.build.evaluator import torch_device
from evonas.stages.build.setup import MAY_BE_NONE, RunMode, mode_of

# stages that run no network, or only on the CPU
_WITHOUT_DEVICE = frozenset(
    {"select", "export", "report", "convert", "show", "list", "compare", "doctor", "serve_latency"}
)
_DOCTOR = "see what works here with: python -m evonas doctor"


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
        if stage == "cost":
            raise UserError(
                "stage=cost does not read networks=.", "Say the network as: stage.genotype=<its text>"
            )
        if stage == "search":
            raise UserError(
                "networks= names the networks, so there is nothing to search for.",
                "Leave it out, or networks=null",
            )
        if not mode.has_network:
            raise UserError(
                f"Task {cfg.task.name} has no network to train.", "Give networks= to a task with images."
            )
    if (mode.has_network or mode is RunMode.JOINT) and stage not in _WITHOUT_DEVICE:
        _check_accelerator(cfg.hardware, stage)
    if cfg.dry_run and stage != "search":
        raise UserError("dry_run=true tells the cost of a search.", "Add stage=search, or leave dry_run out.")


def _check_accelerator(hardware: DictConfig, stage: str) -> None:
    """Refuse an accelerator that this machine does not have, before a stage trains or measures on it."""
    wanted = hardware.accelerator
    # the actors of Ray may be on machines that have what this one lacks
    if wanted in ("cpu", "auto") or (hardware.engine == "ray" and stage in ("search", "measure")):
        return
    device = torch_device(wanted)
    # commands on a CPU do not wait for torch here
    import torch

    if device == "mps" and not torch.backends.mps.is_available():
        raise UserError(
            "This machine has no Apple GPU that torch can use.", f"Use hardware=cpu, or {_DOCTOR}"
        )
    if device != "cuda":
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise UserError(
            f"hardware.accelerator={wanted}, but torch finds no GPU here.", f"Use hardware=cpu, or {_DOCTOR}"
        )
    if hardware.devices > count:
        raise UserError(
            f"hardware.devices={hardware.devices}, but torch finds {count} GPU{'s' if count > 1 else ''} here.",
            f"Use hardware.devices={count}, or {_DOCTOR}",
        )
