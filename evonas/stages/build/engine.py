"""The evaluation engine of `hardware`, and what its workers share: devices and decoded images."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from evonas.stages.build.setup import RunMode, Setup
from evonas.supernets.base import SupernetFamily
from evonas.supernets.families import family_config

WORKER_LOGS = "search/workers"
IMAGES = "search/workers/images"
ENGINES = ("local", "inline", "ray")
GPU = ("gpu", "cuda")


def engine(context: Context, spec: Mapping[str, Any]) -> Engine:
    """The engine of a search in this run.

    Raises:
        UserError: `hardware.engine` is unknown, or needs a package that is not installed.
    """
    cfg = context.cfg
    order = prefix_order(context.setup, spec)
    return engine_for(cfg.hardware, spec, context.run.directory / WORKER_LOGS, order)


def prefix_order(setup: Setup, spec: Mapping[str, Any]) -> Order | None:
    """A sort key of genotypes by which neighbours share the longest prefixes; None for a table.

    A multi-task search sorts by the family of its first member: all members have one space.

    Args:
        spec: config of the evaluator.
    """
    if setup.mode is RunMode.TABLE:
        return None
    if setup.mode is RunMode.JOINT:
        first = next(iter(spec["members"].values()))
        family: SupernetFamily = build(family_config(first["network"]), space=setup.space)
        return family.path
    return setup.family.path


def engine_for(
    hardware: DictConfig, spec: Mapping[str, Any], log_dir: Path | None, order: Order | None = None
) -> Engine:
    """The engine of some settings; without workers it is this process, for debuggers and tables.

    Args:
        hardware: the record `Hardware`.
        spec: config of the evaluator.
        log_dir: folder of the logs of workers and of events; None for no logs.
        order: sort key of genotypes; neighbours share work and are measured in one pass.
    """
    if hardware.engine not in ENGINES:
        raise UserError(
            f"hardware.engine={hardware.engine} is unknown.", f"Choose among {', '.join(ENGINES)}."
        )
    workers = worker_count(hardware)
    if workers == 0 or hardware.engine == "inline":
        return InlineEngine(spec, log_dir, hardware.subnets_per_pass, order)
    common: dict[str, Any] = {
        "workers": workers,
        "threads_per_worker": hardware.threads_per_worker,
        "deadline_s": hardware.timeout_s,
        "tries": hardware.max_attempts,
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


@contextmanager
def shared_images(context: Context, spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The evaluator's config with a folder of decoded images for all workers of a machine, removed at the end.

    A single worker, and a table, share nothing. A search that is killed leaves the folder in its run; the next
    one that resumes uses and removes it.
    """
    hardware = context.cfg.hardware
    is_alone = hardware.engine == "inline" or worker_count(hardware) < 2
    if context.setup.mode is RunMode.TABLE or is_alone:
        yield dict(spec)
        return
    folder = context.run.directory / IMAGES
    try:
        yield {**spec, "shared_dir": str(folder)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def worker_count(hardware: DictConfig) -> int:
    """Workers in all: `workers_per_device` on each GPU where it is set, else `workers`."""
    if not hardware.workers or hardware.workers_per_device is None or hardware.accelerator not in GPU:
        return int(hardware.workers)
    return int(hardware.devices * hardware.workers_per_device)


def exclusive_count(hardware: DictConfig) -> int:
    """How many exclusive measurements run at a time: one on each device."""
    return max(_gpus(hardware), 1) if hardware.engine == "local" else 1


def _gpus(hardware: DictConfig) -> int:
    """GPUs that workers are spread over: no more than there are workers, 0 without GPUs."""
    if hardware.accelerator not in GPU:
        return 0
    return min(int(hardware.devices), worker_count(hardware))
