"""The config of a search's evaluator: what workers build to measure genotypes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from evonas.archive import Archive
from evonas.config import to_plain
from evonas.errors import DataError, UserError
from evonas.evaluate.engine import PARTS, Part
from evonas.identifiers import Naming, identified, identifier, naming_of
from evonas.stages.base import Context
from evonas.stages.build.batch_size import eval_batch_size
from evonas.stages.build.setup import RunMode

_DEVICES = {"cpu": "cpu", "gpu": "cuda", "cuda": "cuda", "mps": "mps"}


def evaluator_config(context: Context) -> dict[str, Any]:
    """What every worker builds its evaluator from, as plain data."""
    cfg, setup = context.cfg, context.setup
    targets = [identifier(each.get("_target_")) for each in to_plain(cfg.get("objective") or {}).values()]
    if setup.mode is not RunMode.SUPERNET and "objective/finetuned_error" in targets:
        raise UserError(
            "fidelity=finetune trains the networks of a supernet, and this search has none.",
            "Use fidelity=full.",
        )
    if setup.mode is RunMode.TABLE:
        own: dict[str, Any] = to_plain(cfg.evaluator)
        return own
    device = torch_device(cfg.hardware.accelerator)
    if setup.mode is RunMode.JOINT:
        from evonas.stages.build.joint import joint_config

        return joint_config(context, device)
    # a table is searched in seconds, and importing torch takes as long
    from evonas.stages.build.factory import SUPERNET

    return {
        "_target_": "evonas.objectives.evaluator.Evaluator",
        "_recursive_": False,
        "space": to_plain(cfg.space),
        "network": to_plain(cfg.network),
        "task": to_plain(cfg.task),
        "objectives": setup.objectives(context.run),
        "weights": str(context.run.need(SUPERNET, made_by="supernet")),
        "batch_size": eval_batch_size(setup),
        "device": device,
        "precision": cfg.hardware.precision,
    }


def archive_naming(path: Path | None) -> Naming:
    """How an archive names what its facts depend on: by stable ids, or by paths as the first release did.

    Args:
        path: of the archive; None, or a file that does not exist, for a new one.
    """
    if path is None:
        return identified
    try:
        with Archive.read(path) as archive:
            return naming_of(archive.meta)
    except (UserError, DataError):
        # missing or empty; a damaged archive is refused where it is opened
        return identified


def parts_of(objectives: Sequence[Any]) -> list[Part]:
    """The resource classes that a search measures, shared ones first."""
    return [part for part in PARTS if any(objective.part == part for objective in objectives)]


def check_runtimes(cfg: DictConfig, objectives: Sequence[Any]) -> None:
    """Raise a UserError for a latency whose runtime cannot be used here, before hours of training."""
    import torch

    from evonas.objectives.latency.measured import Latency

    device = torch.device(torch_device(cfg.hardware.accelerator))
    for objective in objectives:
        if isinstance(objective, Latency):
            objective.check(device, cfg.hardware.precision)


def torch_device(accelerator: str) -> str:
    """Torch's name of the device of `hardware.accelerator`.

    Raises:
        UserError: the accelerator is unknown.
    """
    if accelerator == "auto":
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator not in _DEVICES:
        known = ", ".join(["auto", *_DEVICES])
        raise UserError(f"hardware.accelerator={accelerator} is unknown.", f"Choose among {known}.")
    return _DEVICES[accelerator]
