"""Which engine `hardware` describes, and how its workers share the devices."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from evonas.config import build
from evonas.errors import UserError
from evonas.evaluate.backlog import Order
from evonas.evaluate.engine import Engine
from evonas.evaluate.inline import InlineEngine
from evonas.evaluate.local import LocalEngine
from evonas.stages.base import Context
from evonas.stages.build.run_mode import RunMode
from evonas.stages.build.setup import Setup
from evonas.supernets.base import SupernetFamily
from evonas.supernets.families import without_space

WORKER_LOGS = "search/workers"
ENGINES = ("local", "inline", "ray")
GPU = ("gpu", "cuda")


def engine(context: Context, spec: Mapping[str, Any]) -> Engine:
    """The engine of a search in this run.

    Raises:
        UserError: `hardware.engine` is unknown, or needs a package that is not installed.
    """
    cfg = context.cfg
    order = sharing_order(context.setup, spec)
    return engine_for(cfg.hardware, spec, context.run.directory / WORKER_LOGS, order)


def sharing_order(setup: Setup, spec: Mapping[str, Any]) -> Order | None:
    """The order in which neighbours share the longest prefixes; None for a table, which has no network.

    A joint search sorts by the family of its first member: all members search one space.

    Args:
        spec: config of the evaluator.
    """
    if setup.mode is RunMode.TABLE:
        return None
    if setup.mode is RunMode.JOINT:
        first = next(iter(spec["members"].values()))
        family: SupernetFamily = build(without_space(first["network"]), space=setup.space)
        return family.path
    return setup.family.path


def engine_for(
    hardware: DictConfig, spec: Mapping[str, Any], log_dir: Path | None, order: Order | None = None
) -> Engine:
    """An engine by its settings; no workers means this process, for debuggers and for tables.

    Args:
        hardware: the record `Hardware`.
        spec: config of the evaluator.
        log_dir: where workers print to and events are noted, or None.
        order: of genotypes; neighbours in it share work, and are measured in one pass.
    """
    if hardware.engine not in ENGINES:
        raise UserError(f"There is no engine '{hardware.engine}'.", f"Choose among {', '.join(ENGINES)}.")
    workers = worker_count(hardware)
    if workers == 0 or hardware.engine == "inline":
        return InlineEngine(spec, log_dir, hardware.subnets_per_pass, order)
    common: dict[str, Any] = {
        "workers": workers,
        "threads_per_worker": hardware.threads_per_worker,
        "deadline_s": hardware.deadline_s,
        "tries": hardware.tries,
        "memory_gb": hardware.memory_gb,
        "log_dir": log_dir,
        "subnets_per_pass": hardware.subnets_per_pass,
        "order": order,
    }
    if hardware.engine == "local":
        return LocalEngine(spec, **common, gpus=_gpus(hardware))
    from evonas.evaluate.ray import RayEngine

    share = _gpus(hardware) / workers
    return RayEngine(spec, **common, gpus_per_worker=share, address=hardware.address)


def worker_count(hardware: DictConfig) -> int:
    """Workers in all: `workers_per_device` on each GPU where it is set, else `workers`."""
    if not hardware.workers or hardware.workers_per_device is None or hardware.accelerator not in GPU:
        return int(hardware.workers)
    if hardware.workers_per_device < 1:
        raise UserError(
            f"hardware.workers_per_device is {hardware.workers_per_device}; it must be at least 1.",
            "hardware.workers_per_device=1",
        )
    return int(hardware.devices * hardware.workers_per_device)


def exclusive_count(hardware: DictConfig) -> int:
    """How many exclusive measurements run at a time: one on each device."""
    return max(_gpus(hardware), 1) if hardware.engine == "local" else 1


def _gpus(hardware: DictConfig) -> int:
    """GPUs that workers are spread over: no more than there are workers, 0 without GPUs."""
    if hardware.accelerator not in GPU:
        return 0
    return min(int(hardware.devices), worker_count(hardware))
